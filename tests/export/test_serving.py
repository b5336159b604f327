"""SavedModels for a server: their content, versions, warm-up requests and configuration."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tensorflow as tf
from google.protobuf import text_format
from serving import LIMIT, MODELS, decoded_png, version_folder
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from tfcyclegan.export import serving
from tfcyclegan.runtimes.saved_model import SIGNATURES, versions


def meta_graph(exports, model):
    content = (version_folder(exports, model) / "saved_model.pb").read_bytes()
    (found,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    return found


@pytest.mark.parametrize("model", MODELS)
def test_graphs_hold_only_operations_of_tensorflow(exports, model):
    found = meta_graph(exports, model)
    graph = found.graph_def
    library = graph.library.function
    nodes = [*graph.node, *(node for part in library for node in part.node_def)]
    operations = {node.op for node in nodes} - {part.signature.name for part in library}
    assert {"Conv2D", "DecodePng", "EncodePng"} <= operations
    assert not operations & {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
    assert [name for name in operations if op_def_registry.get(name) is None] == []
    # The eager loader needs Keras for objects of these kinds.
    kinds = {node.user_object.identifier for node in found.object_graph_def.nodes}
    assert not [kind for kind in kinds if "keras" in kind]


@pytest.mark.parametrize("model", MODELS)
def test_weights_are_saved_once(exports, networks, model):
    """A session loader would not restore a second set of variables."""
    nodes = meta_graph(exports, model).graph_def.node
    handles = [node for node in nodes if node.op == "VarHandleOp"]
    assert len(handles) == len(networks[model].weights)


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
