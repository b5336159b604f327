"""`open_runtime` finds the form of a model by its path, address or type."""

import pytest
import tensorflow as tf
from serving import draw, randomised, version_folder

from tfcyclegan import InputError, resnet_generator
from tfcyclegan.export import litert
from tfcyclegan.runtimes.keras_model import KerasRuntime
from tfcyclegan.runtimes.litert import LiteRTRuntime
from tfcyclegan.runtimes.opening import open_runtime
from tfcyclegan.runtimes.saved_model import SavedModelRuntime
from tfcyclegan.runtimes.server import GrpcRuntime, RestRuntime


def test_servers_are_found_by_their_address(server):
    for ending in ("", "/", "/versions/1", "/versions/1/", ":predict"):
        assert isinstance(open_runtime(f"{server.rest}/tiny_AtoB{ending}"), RestRuntime)
    for ending in ("", "/1"):
        assert isinstance(open_runtime(f"{server.grpc}/tiny_AtoB{ending}"), GrpcRuntime)


def test_saved_models_are_found_in_exports_and_version_folders(exports):
    folder = version_folder(exports, "tiny_BtoA")
    for path in (folder, str(folder.parent)):
        runtime = open_runtime(path)
        assert isinstance(runtime, SavedModelRuntime)
        assert runtime.direction == "BtoA"
    assert open_runtime(exports / "tiny").direction == "AtoB"
    assert open_runtime(exports / "tiny", "BtoA").name == str(folder)
    with pytest.raises(InputError, match="only translates BtoA: leave direction=AtoB out"):
        open_runtime(folder, "AtoB")


def test_models_in_memory_and_in_files(make_model, tmp_path):
    model = make_model()
    model.save(tmp_path / "model.keras")
    (tmp_path / "config.json").write_text("{}")
    pixels = draw(9, 10)
    wanted = KerasRuntime(model.F, "F")(pixels)
    for form in (model, tmp_path / "model.keras", tmp_path):
        runtime = open_runtime(form, "BtoA")
        assert isinstance(runtime, KerasRuntime)
        assert runtime.direction == "BtoA"
        assert (runtime(pixels) == wanted).all()
    assert open_runtime(model).direction == "AtoB"
    assert open_runtime(model.F).direction == "BtoA"
    with pytest.raises(InputError, match="F only translates BtoA"):
        open_runtime(model.F, "AtoB")


def test_litert_files(tmp_path):
    F = randomised(resnet_generator(16, filters=4, blocks=1, name="F"), 1)
    files = litert.convert(F, ("float32",), image_size=(16, 16), direction="BtoA")
    litert.write_beside(tmp_path / "F.tflite", *files["float32"])
    runtime = open_runtime(tmp_path / "F.tflite", "BtoA")
    assert isinstance(runtime, LiteRTRuntime)
    assert (runtime.direction, runtime.size) == ("BtoA", (16, 16))


def test_threads_are_set_before_tensorflow_starts(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="threads=0: must be at least 1"):
        open_runtime(tmp_path, threads=0)
    tf.zeros(1).numpy()
    with pytest.raises(InputError, match="threads=97: TensorFlow has already started"):
        open_runtime(tmp_path, threads=97)
    given = []
    monkeypatch.setattr(tf.config.threading, "set_intra_op_parallelism_threads", given.append)
    for _ in range(2):
        with pytest.raises(InputError, match="no run, SavedModel or export"):
            open_runtime(tmp_path, threads=3)
        monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 3)
    assert given == [3], "set once"


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:1",
        "http://127.0.0.1:1/",
        "http://127.0.0.1:1/v1/models",
        "http://127.0.0.1:1/v1/models/",
        "http://127.0.0.1:1/v2/models/tiny_AtoB",
        "grpc://127.0.0.1:1",
        "grpc://127.0.0.1:1/",
        "grpc:///tiny_AtoB",
        "grpc://127.0.0.1:1/tiny_AtoB/newest",
    ],
)
def test_addresses_without_a_model_are_refused(address):
    with pytest.raises(InputError, match="not the address of a model: give ") as caught:
        open_runtime(address)
    assert address.rstrip("/") in str(caught.value)


def test_folders_without_a_model_are_refused(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "serving" / "AtoB" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="no run, SavedModel or export in that folder"):
        open_runtime(tmp_path)
    with pytest.raises(InputError, match="there is no such file or folder"):
        open_runtime(tmp_path / "missing")
