"""SavedModels: what is in them, what they answer, and the files that a server reads."""

import base64
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from serving import (
    KINDS,
    LIMIT,
    MODELS,
    SIZES,
    TIMEOUT,
    b64,
    decoded,
    decoded_png,
    draw,
    encode,
    from_grpc,
    from_json,
    images_for,
    same,
    version_folder,
)
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tfcyclegan.export import serving
from tfcyclegan.runtimes.protocol import BadPicture
from tfcyclegan.runtimes.saved_model import SIGNATURES, versions
from tfcyclegan.runtimes.server import GrpcRuntime, RestRuntime

# Exported graphs, in processes without this package


@pytest.fixture(scope="module")
def files():
    """JPEG and PNG files of odd sizes, for RGB and for grey models."""

    def collect(channels):
        found = {
            f"{kind} {height}×{width}": encode(draw(height, width, channels), kind)
            for height, width in SIZES
            for kind in KINDS
        }
        image = Image.fromarray(draw(37, 50))
        for kind in KINDS:
            found[f"grey {kind}"] = encode(image.convert("L"), kind)
        if channels == 3:
            found["progressive JPEG"] = encode(image, "JPEG", progressive=True)
            found["PNG with palette"] = encode(image.convert("P"), "PNG")
            transparent = np.dstack([np.asarray(image), draw(37, 50, 1, seed=9)])
            found["PNG with alpha"] = encode(transparent, "PNG")
        return found

    return {channels: collect(channels) for channels in (1, 3)}


FRESH = """
import sys

class Blocked:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "tfcyclegan":
            raise ImportError("blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
import tensorflow as tf

try:
    import tfcyclegan
    raise SystemExit("it can be imported")
except ImportError:
    pass

questions, answers, *paths = sys.argv[1:]
questions = np.load(questions)
given = {}
for path in paths:
    signatures = tf.saved_model.load(path).signatures
    prefix = "/".join(path.split("/")[-4:]) + ":"
    for key in questions.files:
        if key.startswith(prefix + "images:"):
            images = tf.constant(questions[key])
            given[key] = signatures["serving_default"](images=images)["images"].numpy()
        elif key.startswith(prefix + "file:"):
            data = tf.constant([questions[key].tobytes()])
            (drawn,) = signatures["serving_bytes"](image_bytes=data)["image_bytes"].numpy()
            given[key] = np.frombuffer(drawn, np.uint8)
np.savez(answers, **given)
"""


@pytest.fixture(scope="module")
def fresh_answers(exports, networks, files, tmp_path_factory):
    """The answers of all models in a new process, loaded by `tf.saved_model.load`."""
    folder = tmp_path_factory.mktemp("fresh")
    questions = {}
    for model, network in networks.items():
        prefix = version_folder(exports, model).relative_to(exports)
        for index, images in enumerate(images_for(network)):
            questions[f"{prefix}:images:{index}"] = images
        for name, data in files[network.input_shape[-1]].items():
            questions[f"{prefix}:file:{name}"] = np.frombuffer(data, np.uint8)
    np.savez(folder / "questions.npz", **questions)
    paths = [version_folder(exports, model) for model in MODELS]
    done = subprocess.run(
        [sys.executable, "-c", FRESH, folder / "questions.npz", folder / "answers.npz", *paths],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "answers.npz") as found:
        return dict(found)


@pytest.fixture
def fresh(fresh_answers, exports):
    """The answers of one model to one kind of question."""

    def of(model, kind):
        prefix = f"{version_folder(exports, model).relative_to(exports)}:{kind}:"
        return {
            key.removeprefix(prefix): value
            for key, value in fresh_answers.items()
            if key.startswith(prefix)
        }

    return of


@pytest.mark.parametrize("model", MODELS)
def test_tensors_of_any_number_and_size(fresh, server, networks, model):
    """By both loaders: the new process loads eagerly, the server into a session."""
    answers = fresh(model, "images")
    questions = images_for(networks[model])
    assert len(answers) == len(questions)
    for index, images in enumerate(questions):
        wanted = np.asarray(networks[model](images))
        assert wanted.std() > 0.05, "a flat picture proves nothing"
        served = server.send_images_by_grpc(images, model).outputs["images"]
        for given in (answers[str(index)], tf.make_ndarray(served)):
            np.testing.assert_allclose(given, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model", MODELS)
def test_files_of_both_formats_and_odd_sizes(fresh, server, networks, files, expected, model):
    channels = networks[model].input_shape[-1]
    answers = fresh(model, "file")
    assert set(answers) == set(files[channels])
    for name, data in files[channels].items():
        wanted = expected(decoded(data, channels), model)
        assert same(decoded_png(answers[name].tobytes()), wanted), name
        assert same(from_json(server.send_file(data, model=model)), wanted), name


def test_directions_are_not_mixed_up(expected, picture):
    """The other tests could not tell if both generators gave the same picture."""
    there, back = (expected(picture, model).astype(int) for model in ("tiny_AtoB", "tiny_BtoA"))
    assert abs(there - back).mean() > 10
    assert abs(there - picture).mean() > 10


def meta_graph(exports, model):
    content = (version_folder(exports, model) / "saved_model.pb").read_bytes()
    (found,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    return found


@pytest.mark.parametrize("model", MODELS)
def test_graphs_hold_only_operations_of_tensorflow(exports, model):
    graph = meta_graph(exports, model).graph_def
    library = graph.library.function
    nodes = [*graph.node, *(node for part in library for node in part.node_def)]
    operations = {node.op for node in nodes} - {part.signature.name for part in library}
    assert {"Conv2D", "DecodePng", "EncodePng"} <= operations
    assert not operations & {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
    assert [name for name in operations if op_def_registry.get(name) is None] == []


@pytest.mark.parametrize("model", MODELS)
def test_weights_are_saved_once(exports, networks, model):
    """A session loader would not restore a second set of variables."""
    nodes = meta_graph(exports, model).graph_def.node
    handles = [node for node in nodes if node.op == "VarHandleOp"]
    assert len(handles) == len(networks[model].weights)


def test_pictures_are_padded_as_runtimes_pad_them():
    mirrored = tf.function(
        serving._mirrored,
        input_signature=[tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int32)],
    )
    for size in range(1, 14):
        for padded in range(size, 70):
            index = mirrored(tf.constant(size), tf.constant(padded)).numpy()
            wanted = np.pad(np.arange(size), (0, padded - size), mode="reflect")
            np.testing.assert_array_equal(index, wanted, err_msg=f"{size} to {padded}")


def test_models_describe_themselves(exports):
    file = version_folder(exports, "small_BtoA") / "assets.extra/tfcyclegan.json"
    assert json.loads(file.read_text()) == {
        "format": "tfcyclegan/1",
        "direction": "BtoA",
        "precision": "float32",
        "channels": 1,
        "multiple_of": 4,
        "at_least": 8,
        "max_pixels": LIMIT,
    }


def test_a_servable_has_the_two_signatures(networks):
    servable = serving.Servable(networks["tiny_AtoB"], max_pixels=100)
    assert servable.functions.keys() == SIGNATURES.keys()


# Requests


@pytest.mark.parametrize("model", ["tiny_AtoB", "tiny_AtoB/versions/1", "tiny_BtoA"])
def test_files_in_json_by_row_and_by_column(server, picture, expected, model):
    wanted = expected(picture, model.split("/")[0])
    content = b64(encode(picture, "PNG"))
    for part in (
        {"instances": [content]},
        {"instances": [{"image_bytes": content}]},
        {"inputs": [content]},
        {"inputs": {"image_bytes": [content]}},
    ):
        answer = server.post({"signature_name": "serving_bytes", **part}, model)
        assert answer.status_code == 200, answer.text
        (given,) = answer.json()["predictions" if "instances" in part else "outputs"]
        assert list(given) == ["b64"]
        assert same(decoded_png(base64.b64decode(given["b64"])), wanted)


def test_tensors_in_json_by_row_and_by_column(server, networks):
    images = images_for(networks["tiny_AtoB"])[1]
    wanted = networks["tiny_AtoB"](images)
    rows = images.tolist()
    for part in (
        {"instances": rows},
        {"signature_name": "serving_default", "instances": [{"images": row} for row in rows]},
        {"inputs": rows},
        {"inputs": {"images": rows}},
    ):
        answer = server.post(part)
        assert answer.status_code == 200, answer.text
        given = answer.json()["predictions" if "instances" in part else "outputs"]
        np.testing.assert_allclose(np.array(given), wanted, atol=1e-4, rtol=0)


def test_tensors_by_grpc(server, networks):
    images = images_for(networks["tiny_BtoA"])[1]
    answer = server.send_images_by_grpc(images, "tiny_BtoA")
    assert answer.model_spec.version.value == 1
    wanted = networks["tiny_BtoA"](images)
    np.testing.assert_allclose(tf.make_ndarray(answer.outputs["images"]), wanted, atol=1e-4, rtol=0)


def test_several_files_of_several_sizes_in_one_request(server, expected):
    data = [encode(draw(*size), kind) for size, kind in zip(SIZES, KINDS * 3, strict=True)]
    by_rest, by_grpc = server.send_file(*data), server.send_file_by_grpc(*data)
    for index, file in enumerate(data):
        assert same(from_json(by_rest, index), expected(decoded(file)))
        assert same(from_grpc(by_grpc, index), expected(decoded(file)))


def test_metadata_by_grpc_names_both_signatures(server):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tiny_AtoB"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    answer = server.stub.GetModelMetadata(request, timeout=TIMEOUT)
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert SIGNATURES.keys() <= set(signatures.signature_def)
    found = signatures.signature_def["serving_default"].inputs["images"].tensor_shape.dim
    assert [dim.size for dim in found] == [-1, -1, -1, 3]


WRONG = {
    "broken JSON": ("{", "JSON Parse error"),
    "not an object": ([1], "instances"),
    "no instances": ({"signature_name": "serving_bytes"}, "instances"),
    "empty instances": ({"instances": []}, "not empty"),
    "wrong signature": ({"signature_name": "draw", "instances": [1]}, '"draw" not found'),
    "wrong input": ({"inputs": {"pictures": [1]}}, "pictures"),
    "wrong base64": ({"signature_name": "serving_bytes", "instances": [{"b64": "a"}]}, "base64"),
    "no tensor": ({"instances": [[[[1, 2, 3]], [[1]]]]}, "shape"),
    "wrong rank": ({"instances": [[1, 2, 3]]}, "shape"),
    "wrong channels": ({"instances": np.zeros((1, 8, 8, 4)).tolist()}, "shape"),
    "strings for numbers": ({"instances": ["horse"]}, "horse"),
}


@pytest.mark.parametrize("name", WRONG)
def test_requests_that_make_no_sense_are_refused(server, name):
    body, words = WRONG[name]
    answer = server.post(body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_wrong_signature_by_grpc(server, picture):
    problem = server.send_file_by_grpc(encode(picture, "PNG"), signature="draw")
    assert problem.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert '"draw" not found' in problem.details()


@pytest.mark.parametrize("sides", [(10, 8), (8, 10), (4, 8), (8, 4), (0, 8), (7, 7)])
def test_tensors_of_wrong_sides_are_refused(server, sides):
    with pytest.raises(grpc.RpcError) as caught:
        server.send_images_by_grpc(np.zeros((2, *sides, 3), np.float32))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    said = caught.value.details()
    assert "height and width of images must be multiples of 4 and at least 8" in said
    assert f"[{sides[0]} {sides[1]}]" in said
    if 0 not in sides:
        answer = server.post({"instances": np.zeros((1, *sides, 3)).tolist()})
        assert answer.status_code == 400
        assert "must be multiples of 4 and at least 8" in answer.json()["error"]


def test_the_limit_of_tensors_is_on_the_whole_batch(server):
    assert server.post({"instances": np.zeros((2, 100, 100, 3)).tolist()}).status_code == 200
    answer = server.post({"instances": np.zeros((2, 100, 104, 3)).tolist()})
    assert answer.status_code == 400
    assert "images have more than 20000 pixels in all:] [20800]" in answer.json()["error"]


# Many clients


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_a_bad_file_fails_only_its_own_request(server, picture, expected, kind):
    good, bad = encode(picture, "PNG"), encode(picture, "PNG")[:500]
    with ThreadPoolExecutor(3) as pool:
        send = server.send_file if kind == "rest" else server.send_file_by_grpc
        batches = [[good, good], [good, bad, good], [good, good]] * 4
        answers = list(pool.map(lambda batch: send(*batch), batches))
    take = from_json if kind == "rest" else from_grpc
    wanted = expected(picture)
    for batch, answer in zip(batches, answers, strict=True):
        if bad in batch:
            code = answer.status_code if kind == "rest" else answer.code()
            assert code in (400, grpc.StatusCode.INVALID_ARGUMENT)
        else:
            assert all(same(take(answer, index), wanted) for index in range(2))


def test_eight_clients_at_once_each_get_their_own_answers(server, expected):
    runtimes = {"http": RestRuntime, "grpc": GrpcRuntime}
    clients = [
        runtimes[url[:4]](f"{url}/{model}", TIMEOUT)
        for url in (server.rest, server.grpc)
        for model in ("tiny_AtoB", "tiny_BtoA")
    ] * 2
    pictures = [
        [draw(20 + 3 * client, 30 + 5 * turn, seed=client) for turn in range(6)]
        for client in range(8)
    ]
    wanted = [
        [expected(pixels, ("tiny_AtoB", "tiny_BtoA")[client % 2]) for pixels in row]
        for client, row in enumerate(pictures)
    ]
    together = threading.Barrier(8)

    def work(client):
        together.wait()
        answers = []
        for turn, pixels in enumerate(pictures[client]):
            bad = encode(pixels, KINDS[turn % 2])[: 30 + 10 * turn]
            assert requests.post(
                f"{server.rest}/tiny_AtoB:predict",
                json={"signature_name": "serving_bytes", "instances": [b64(bad)]},
                timeout=TIMEOUT,
            ).status_code == 400  # fmt: skip
            assert isinstance(server.send_file_by_grpc(bad), grpc.RpcError)
            with pytest.raises(BadPicture):
                clients[client](np.zeros((200, 101, 3), np.uint8))
            answers.append(clients[client](pixels))
        return answers

    with ThreadPoolExecutor(8) as pool:
        for given, right in zip(pool.map(work, range(8)), wanted, strict=True):
            assert all(same(one, other) for one, other in zip(given, right, strict=True))


# What the server reads beside the models


@pytest.mark.parametrize("model", MODELS)
def test_warm_up_calls_each_signature_once(exports, networks, model):
    file = version_folder(exports, model) / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    requested = {log.predict_log.request.model_spec.signature_name: log for log in logs}
    assert len(logs) == 2
    assert requested.keys() == SIGNATURES.keys()
    for log in logs:
        assert log.WhichOneof("log_type") == "predict_log"
        assert log.predict_log.request.model_spec.name == model
    channels = networks[model].input_shape[-1]
    images = requested["serving_default"].predict_log.request.inputs["images"]
    assert tf.make_ndarray(images).shape == (1, 32, 32, channels)
    (data,) = tf.make_ndarray(requested["serving_bytes"].predict_log.request.inputs["image_bytes"])
    assert decoded_png(data).shape == (32, 32, channels)


def test_the_server_answers_all_warm_up_requests(running):
    assert running.warm_ups == dict.fromkeys(MODELS, 2)


def read_config(export):
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((export / "serving" / "models.config").read_text(), config)
    return {entry.name: entry for entry in config.model_config_list.config}


def staged(folder, content="weights"):
    """A version that is ready to be published: a folder with a file in it."""
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_text(content)
    (folder / "complete").touch()
    return folder


def test_the_configuration_lists_the_directions_that_are_there(tmp_path, exports):
    both = read_config(exports / "tiny")
    assert {name: entry.base_path for name, entry in both.items()} == {
        "tiny_AtoB": "/models/AtoB",
        "tiny_BtoA": "/models/BtoA",
    }
    assert {entry.model_platform for entry in both.values()} == {"tensorflow"}

    (tmp_path / "serving" / "AtoB" / ".part").mkdir(parents=True)
    serving.write_server_files(tmp_path, "one")
    assert read_config(tmp_path) == {}
    serving.publish(staged(tmp_path / "staged"), tmp_path / "serving" / "BtoA")
    serving.write_server_files(tmp_path, "one")
    assert list(read_config(tmp_path)) == ["one_BtoA"]
    assert "./serving:/models:ro" in (tmp_path / "compose.yaml").read_text()
    assert "--model_config_file=/models/models.config" in (tmp_path / "compose.yaml").read_text()
    assert sorted(path.name for path in (tmp_path / "serving").iterdir()) == [
        "AtoB", "BtoA", "batching.config", "models.config",
    ]  # fmt: skip


def test_each_publication_gets_the_next_number(tmp_path):
    model = tmp_path / "serving" / "AtoB"
    for number in (1, 2, 3):
        place = serving.publish(staged(tmp_path / "staged", f"version {number}"), model)
        assert place == model / str(number)
        assert (place / "saved_model.pb").read_text() == f"version {number}"
    (model / "1" / "saved_model.pb").unlink()
    (model / "9").mkdir()
    (model / "11.part").mkdir()
    (model / "12").write_text("a file")
    assert serving.publish(staged(tmp_path / "staged"), model) == model / "10"
    assert [path.name for path in versions(model)] == ["1", "2", "3", "9", "10"]


def test_a_version_that_is_not_there_leaves_no_number(tmp_path):
    model = tmp_path / "serving" / "AtoB"
    with pytest.raises(OSError, match="staged"):
        serving.publish(tmp_path / "staged", model)
    assert list(model.iterdir()) == []
    assert serving.publish(staged(tmp_path / "staged"), model).name == "1"


def test_a_server_that_polls_sees_only_whole_versions(tmp_path):
    """While four threads publish at once, each to a number of its own."""
    model = tmp_path / "serving" / "AtoB"
    model.mkdir(parents=True)
    folders = [staged(tmp_path / f"staged{number}", str(number)) for number in range(200)]
    finished = threading.Event()

    def poll():
        looks = 0
        while not finished.is_set():
            for path in model.iterdir():
                assert path.name.isdecimal()
                assert (path / "complete").exists()
            looks += 1
        return looks

    with ThreadPoolExecutor(5) as pool:
        polling = pool.submit(poll)
        places = list(pool.map(lambda folder: serving.publish(folder, model), folders))
        finished.set()
    assert polling.result() > 0
    assert sorted(int(place.name) for place in places) == list(range(1, 201))
    assert [(place / "saved_model.pb").read_text() for place in places] == [
        str(number) for number in range(200)
    ]
