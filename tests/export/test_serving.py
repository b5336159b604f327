"""Exported SavedModels, and their clients, against a server in a process of its own."""

import base64
import io
import json
import struct
import subprocess
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from tfcyclegan import resnet_generator, unet_generator
from tfcyclegan.errors import InputError
from tfcyclegan.export import serving
from tfcyclegan.runtimes.keras_model import KerasRuntime
from tfcyclegan.runtimes.opening import open_runtime
from tfcyclegan.runtimes.protocol import MAX_PIXELS, BadPicture, versions
from tfcyclegan.runtimes.saved_model import SavedModelRuntime
from tfcyclegan.runtimes.server import GrpcRuntime, RestRuntime

LIMIT = 20_000
TIMEOUT = 20.0
SIZES = [(37, 50), (1, 1), (1, 9), (3, 2), (8, 8), (5, 100)]
MODELS = ["tiny_AtoB", "tiny_BtoA", "small_AtoB", "small_BtoA"]
KINDS = ["JPEG", "PNG", "GIF", "BMP"]
LOADERS = ["eager", "session"]


def randomised(network, seed, scale=0.07):
    """Weights as after training, and other ones for each seed."""
    random = np.random.default_rng(seed)
    network.set_weights([scale * random.standard_normal(w.shape) for w in network.get_weights()])
    return network


@pytest.fixture(scope="module")
def networks():
    """Two generators of a run, a U-Net, and one for grey pictures, by their names on the server.

    The last has no norm, so that it says the same of a picture of one colour every time.
    """
    resnet = {"filters": 4, "blocks": 1}
    return {
        "tiny_AtoB": randomised(resnet_generator(**resnet), 1),
        "tiny_BtoA": randomised(resnet_generator(**resnet), 2),
        "small_AtoB": randomised(unet_generator(filters=4, depth=5), 3),
        "small_BtoA": randomised(resnet_generator(channels=1, norm="none", **resnet), 4, 0.15),
    }


@pytest.fixture(scope="module")
def exports(networks, tmp_path_factory):
    """The folder of the exports `tiny` and `small`. The U-Net alone takes large pictures."""
    folder = tmp_path_factory.mktemp("exports")
    for name, network in networks.items():
        export, direction = name.split("_")
        staged = folder / export / f".part-{direction}"
        staged.parent.mkdir(exist_ok=True)
        serving.write_saved_model(
            network,
            staged,
            model_name=name,
            direction=direction,
            image_size=(32, 32),
            max_pixels=MAX_PIXELS if name == "small_AtoB" else LIMIT,
        )
        serving.publish(staged, folder / export / "serving" / direction)
        serving.write_server_files(folder / export, export)
    return folder


def version_folder(exports, model):
    export, direction = model.split("_")
    return exports / export / "serving" / direction / "1"


class Running:
    """A model server in a process of its own, and short ways to ask it."""

    def __init__(self, directories, errors):
        self._errors = errors
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).parents[1] / "model_server.py", *directories],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def ready(self):
        """Waits until it says its ports, or fails with what it said instead."""
        deadline = threading.Timer(60, self.process.kill)
        deadline.start()
        line = self.process.stdout.readline()
        deadline.cancel()
        assert line, self._errors.read_text()
        ports = json.loads(line)
        self.warm_ups = ports["warm_ups"]
        self.rest = f"http://127.0.0.1:{ports['rest']}/v1/models"
        self.grpc = f"grpc://127.0.0.1:{ports['grpc']}"
        self._session = requests.Session()
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(self.grpc.removeprefix("grpc://"), unlimited)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        return self

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def post(self, body, model="tiny_AtoB"):
        """Sends what `curl -d` would, an object or text."""
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return self._session.post(f"{self.rest}/{model}:predict", data=data, timeout=TIMEOUT)

    def send_file(self, *files, model="tiny_AtoB"):
        return self.post(
            {"signature_name": "serving_bytes", "instances": [b64(file) for file in files]}, model
        )

    def send_file_by_grpc(self, *files, model="tiny_AtoB", signature="serving_bytes"):
        """The answer, or the RpcError."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(files)))
        try:
            return self.stub.Predict(request, timeout=TIMEOUT)
        except grpc.RpcError as problem:
            return problem

    @contextmanager
    def bounded_memory(self, megabytes=200):
        """Fails where it takes more than that on top of what it has, if only for a moment."""
        process = Path(f"/proc/{self.process.pid}")
        (process / "clear_refs").write_text("5")  # the peak starts again from here
        before = self._peak_memory()
        yield
        assert self._peak_memory() - before < megabytes

    def _peak_memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.fixture(scope="module")
def running(exports, tmp_path_factory):
    server = Running(
        [exports / name / "serving" for name in ("tiny", "small")],
        tmp_path_factory.mktemp("log") / "stderr",
    )
    try:
        yield server.ready()
    finally:
        server.stop()


@pytest.fixture
def server(running, picture, expected):
    """The server, which must be well after every test."""
    yield running
    assert same(from_json(running.send_file(encode(picture, "PNG"))), expected(picture))


@pytest.fixture(scope="module")
def expected(networks):
    """What Keras makes of a picture."""
    runtimes = {name: KerasRuntime(network, name) for name, network in networks.items()}
    return lambda pixels, model="tiny_AtoB": runtimes[model](pixels)


def draw(height, width, channels=3, seed=0):
    """Neither noise nor flat: waves of random lengths, so that JPEG keeps most of it."""
    random = np.random.default_rng([seed, height, width])
    y, x = np.mgrid[:height, :width]
    waves = [
        np.sin(x * random.uniform(-1, 1) + y * random.uniform(-1, 1) + random.uniform(0, 6))
        for _ in range(channels)
    ]
    noise = random.integers(-20, 21, (height, width, channels))
    return np.clip(127.5 + 100 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def picture():
    return draw(37, 50)


def encode(image, kind, **settings):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def decoded(data, channels=3):
    """As the clients and tools of this package read files: by Pillow."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels)


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def from_json(answer, index=0):
    """The picture in a REST answer."""
    assert answer.status_code == 200, answer.text
    return decoded_png(base64.b64decode(answer.json()["predictions"][index]["b64"]))


def from_grpc(answer, index=0):
    assert not isinstance(answer, grpc.RpcError), answer
    return decoded_png(tf.make_ndarray(answer.outputs["image_bytes"])[index])


def decoded_png(data):
    assert data.startswith(b"\x89PNG")
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    return pixels.reshape(*pixels.shape[:2], -1)


def same(pixels, others):
    """Whether two pictures differ by one level at most, which rounding may.

    Of a picture of one pixel, only the sizes: an instance norm divides what rounding left of
    its variance by itself, and again in each layer.
    """
    if pixels.shape == others.shape == (1, 1, 3):
        return True
    return pixels.shape == others.shape and abs(pixels.astype(int) - others).max() <= 1


def with_size(data, kind, width, height, frame=None):
    """The file with other numbers in its head: as small as before, and a lie."""
    data = bytearray(data)
    if kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    else:
        place = 6 if frame is None else gif_frames(data)[frame] + 5
        data[place : place + 4] = struct.pack("<HH", width, height)
    return bytes(data)


def gif_frames(data):
    """Where the descriptors of a GIF's frames begin."""

    def table(flags):
        return 3 * 2 ** (flags % 8 + 1) if flags >= 128 else 0

    places, at = [], 13 + table(data[10])
    while data[at] != 0x3B:
        if data[at] == 0x2C:
            places.append(at)
            at += 11 + table(data[at + 9])
        else:
            at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    return places


# Exported graphs, without this package


@pytest.fixture(scope="module")
def files():
    """Picture files of all formats and of odd sizes, for RGB and for grey models."""

    def collect(channels):
        found = {}
        for height, width in SIZES:
            pixels = draw(height, width, channels)
            for kind in KINDS:
                found[f"{kind} {height}×{width}"] = encode(pixels, kind)
        first, *later = (Image.fromarray(draw(37, 50, 3, seed)) for seed in range(4))
        found["animated GIF"] = encode(
            first, "GIF", save_all=True, append_images=later, comment=b"four frames" * 50
        )
        for kind in KINDS:
            found[f"grey {kind}"] = encode(first.convert("L"), kind)
        upside_down = encode(draw(37, 50, channels)[::-1], "BMP")
        found["BMP from the top"] = with_size(upside_down, "BMP", 50, -37)
        if channels == 3:
            found["progressive JPEG"] = encode(first, "JPEG", progressive=True)
            found["PNG with palette"] = encode(first.convert("P"), "PNG")
            found["interlaced GIF"] = encode(first, "GIF", interlace=1)
            for kind in ("PNG", "BMP"):
                transparent = np.dstack([np.asarray(first), draw(37, 50, 1, seed=9)])
                found[f"{kind} with alpha"] = encode(transparent, kind)
        else:
            del found["animated GIF"]
        return found

    return {channels: collect(channels) for channels in (1, 3)}


def images_for(network):
    multiple = 32 if network.name == "unet_generator" else 4
    random = np.random.default_rng(5)
    return [
        random.uniform(-1, 1, (batch, height * multiple, width * multiple, network.input_shape[-1]))
        .astype(np.float32)
        for batch, height, width in ((1, 2, 2), (3, 2, 5), (2, 4, 3), (1, 7, 2))
    ]  # fmt: skip


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

def load_eager(path):
    signatures = tf.saved_model.load(path).signatures
    return lambda name, **inputs: next(iter(signatures[name](
        **{key: tf.constant(value) for key, value in inputs.items()}).values())).numpy()

def load_session(path):
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], path)
    def run(name, **inputs):
        signature = loaded.signature_def[name]
        (output,) = signature.outputs.values()
        feeds = {signature.inputs[key].name: value for key, value in inputs.items()}
        return session.run(output.name, feeds)
    return run

loader, questions, answers, *paths = sys.argv[1:]
questions = np.load(questions)
given = {}
for path in paths:
    run = {"eager": load_eager, "session": load_session}[loader](path)
    prefix = "/".join(path.split("/")[-4:]) + ":"
    for key in questions.files:
        if key.startswith(prefix + "images:"):
            given[key] = run("serving_default", images=questions[key])
        elif key.startswith(prefix + "file:"):
            data = np.array([questions[key].tobytes()], object)
            given[key] = np.frombuffer(run("serving_bytes", image_bytes=data)[0], np.uint8)
np.savez(answers, **given)
"""


@pytest.fixture(scope="module")
def fresh_answers(exports, networks, files, tmp_path_factory):
    """What processes without this package get from all models, by either loader."""
    folder = tmp_path_factory.mktemp("fresh")
    questions = {}
    for model, network in networks.items():
        prefix = version_folder(exports, model).relative_to(exports)
        for index, images in enumerate(images_for(network)):
            questions[f"{prefix}:images:{index}"] = images
        for name, data in files[network.input_shape[-1]].items():
            questions[f"{prefix}:file:{name}"] = np.frombuffer(data, np.uint8)
    questions_file = folder / "questions.npz"
    np.savez(questions_file, **questions)
    paths = [version_folder(exports, model) for model in MODELS]
    processes = {
        loader: subprocess.Popen(
            [sys.executable, "-c", FRESH, loader, questions_file, folder / f"{loader}.npz", *paths],
            stderr=subprocess.PIPE,
            text=True,
        )
        for loader in LOADERS
    }
    errors = {loader: process.communicate(timeout=120)[1] for loader, process in processes.items()}
    return {
        loader: (process.returncode, errors[loader], folder / f"{loader}.npz")
        for loader, process in processes.items()
    }


@pytest.fixture(params=LOADERS)
def fresh(request, fresh_answers, exports):
    """The answers of one model to one kind of question."""
    code, errors, file = fresh_answers[request.param]
    assert code == 0, errors

    def of(model, kind):
        prefix = f"{version_folder(exports, model).relative_to(exports)}:{kind}:"
        with np.load(file) as found:
            return {k.removeprefix(prefix): found[k] for k in found.files if k.startswith(prefix)}

    return of


@pytest.mark.parametrize("model", MODELS)
def test_tensors_of_any_number_and_size_without_this_package(fresh, networks, model):
    answers = fresh(model, "images")
    questions = images_for(networks[model])
    assert len(answers) == len(questions)
    for index, images in enumerate(questions):
        wanted = np.asarray(networks[model](images))
        assert wanted.std() > 0.05, "a picture that shows nothing proves nothing"
        np.testing.assert_allclose(answers[str(index)], wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model", MODELS)
def test_files_of_all_formats_and_odd_sizes_without_this_package(
    fresh, networks, files, expected, model
):
    channels = networks[model].input_shape[-1]
    answers = fresh(model, "file")
    assert set(answers) == set(files[channels])
    for name, data in files[channels].items():
        pixels = decoded_png(answers[name].tobytes())
        assert same(pixels, expected(decoded(data, channels), model)), name


def test_directions_are_not_mixed_up(expected, picture):
    """Or the tests that follow would not notice."""
    there, back = (expected(picture, model).astype(int) for model in ("tiny_AtoB", "tiny_BtoA"))
    assert abs(there - back).mean() > 10
    assert abs(there - picture).mean() > 10


@pytest.mark.parametrize("model", MODELS)
def test_graphs_hold_operations_of_tensorflow_alone(exports, model):
    content = (version_folder(exports, model) / "saved_model.pb").read_bytes()
    (meta_graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    library = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(node for part in library for node in part.node_def)]
    operations = {node.op for node in nodes} - {part.signature.name for part in library}
    assert {"Conv2D", "DecodePng", "EncodePng"} <= operations
    assert not operations & {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
    assert [name for name in operations if op_def_registry.get(name) is None] == []


@pytest.mark.parametrize("model", MODELS)
def test_saved_weights_are_there_once(exports, networks, model):
    """A second copy would have to be loaded, and may be the one that is not."""
    content = (version_folder(exports, model) / "saved_model.pb").read_bytes()
    (meta_graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    handles = [node for node in meta_graph.graph_def.node if node.op == "VarHandleOp"]
    assert len(handles) == len(networks[model].weights)


def test_pictures_are_padded_as_the_backends_pad_them():
    for size in range(1, 14):
        for padded in range(size, 70):
            index = serving._mirrored(tf.constant(size), tf.constant(padded)).numpy()
            wanted = np.pad(np.arange(size), (0, padded - size), mode="reflect")
            np.testing.assert_array_equal(index, wanted, err_msg=f"{size} to {padded}")


def test_models_say_what_they_need(exports):
    description = json.loads(
        (version_folder(exports, "small_BtoA") / "assets.extra/tfcyclegan.json").read_text()
    )
    assert description == {
        "format": "tfcyclegan/1",
        "direction": "BtoA",
        "precision": "float32",
        "channels": 1,
        "multiple_of": 4,
        "at_least": 8,
        "max_pixels": LIMIT,
    }


@pytest.mark.parametrize("model", MODELS)
def test_saved_model_backend(exports, expected, networks, model):
    runtime = open_runtime(version_folder(exports, model).parent)
    assert isinstance(runtime, SavedModelRuntime)
    assert runtime.channels == networks[model].input_shape[-1]
    assert runtime.max_pixels == (MAX_PIXELS if model == "small_AtoB" else LIMIT)
    for height, width in SIZES:
        pixels = draw(height, width, runtime.channels)
        assert same(runtime(pixels), expected(pixels, model))
    if model == "tiny_AtoB":
        with pytest.raises(BadPicture, match=r"more than 20000 pixels.* \[200\] \[101\]") as caught:
            runtime(draw(101, 200))
        assert "\n" not in str(caught.value)


# Clients and the server


def backend_for(server, kind, model):
    if kind == "rest":
        return RestRuntime(f"{server.rest}/{model}", TIMEOUT)
    return GrpcRuntime(f"{server.grpc}/{model}", TIMEOUT)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_clients_give_what_keras_gives(server, networks, expected, kind, model):
    runtime = backend_for(server, kind, model)
    assert runtime.channels == networks[model].input_shape[-1]
    for height, width in (*SIZES, (100, 200)):
        pixels = draw(height, width, runtime.channels)
        assert same(runtime(pixels), expected(pixels, model)), f"{height}×{width}"


def test_clients_send_and_receive_more_than_four_megabytes(server, expected):
    """The usual limit of gRPC's messages."""
    pixels = np.random.default_rng(0).integers(0, 256, (1280, 1280, 3), np.uint8)
    wanted = expected(pixels, "small_AtoB")
    assert min(len(encode(image, "PNG")) for image in (pixels, wanted)) > 4 * 2**20
    for kind in ("rest", "grpc"):
        assert same(backend_for(server, kind, "small_AtoB")(pixels), wanted)


def test_open_backend_finds_the_interface_by_the_address(server):
    for address in ("", "/", "/versions/1", "/versions/1/", ":predict"):
        assert isinstance(open_runtime(f"{server.rest}/tiny_AtoB{address}"), RestRuntime)
    for address in ("", "/1"):
        assert isinstance(open_runtime(f"{server.grpc}/tiny_AtoB{address}"), GrpcRuntime)


@pytest.mark.parametrize("model", ["tiny_AtoB", "tiny_AtoB/versions/1", "tiny_BtoA"])
def test_files_in_json_by_row_and_by_column(server, picture, expected, model):
    wanted = expected(picture, model.split("/")[0])
    content = b64(encode(picture, "BMP"))
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
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tiny_BtoA"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
    answer = server.stub.Predict(request, timeout=TIMEOUT)
    assert answer.model_spec.version.value == 1
    wanted = networks["tiny_BtoA"](images)
    np.testing.assert_allclose(tf.make_ndarray(answer.outputs["images"]), wanted, atol=1e-4, rtol=0)


def test_several_files_of_several_sizes_in_one_request(server, expected):
    pictures = [draw(height, width) for height, width in SIZES]
    data = [encode(pixels, kind) for pixels, kind in zip(pictures, ["PNG", "BMP"] * 3, strict=True)]
    by_rest, by_grpc = server.send_file(*data), server.send_file_by_grpc(*data)
    for index, pixels in enumerate(pictures):
        assert same(from_json(by_rest, index), expected(pixels))
        assert same(from_grpc(by_grpc, index), expected(pixels))


def test_metadata_by_grpc_names_both_signatures(server):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tiny_AtoB"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    answer = server.stub.GetModelMetadata(request, timeout=TIMEOUT)
    assert answer.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "serving_bytes"} <= set(signatures.signature_def)
    found = signatures.signature_def["serving_default"].inputs["images"].tensor_shape.dim
    assert [dim.size for dim in found] == [-1, -1, -1, 3]


# Requests that must be refused


def refused(server, data):
    """The reason that both interfaces give for a file; fails where they do not refuse it."""
    answer = server.send_file(data)
    assert answer.status_code == 400, answer.content[:300]
    problem = server.send_file_by_grpc(data)
    assert isinstance(problem, grpc.RpcError)
    assert problem.code() == grpc.StatusCode.INVALID_ARGUMENT
    # Strictly: an error with parts of the file in it is no text, and no client can read it.
    said = json.loads(answer.content.decode("utf-8"))["error"]
    assert said.split(":")[0] in problem.details()
    return said


NO_PICTURES = {
    "empty": b"",
    "text": b"a horse in a meadow",
    "bytes": bytes(range(256)),
    "WebP": b"RIFF\x1a\0\0\0WEBPVP8L",
    "one byte of PNG": b"\x89",
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_what_is_no_picture_is_refused(server, name):
    said = refused(server, NO_PICTURES[name])
    assert "not a picture: image_bytes takes JPEG, PNG, GIF and BMP files" in said


def test_json_that_is_plain_text_is_no_picture_either(server):
    answer = server.post({"signature_name": "serving_bytes", "instances": ["abc"]})
    assert answer.status_code == 400
    assert "not a picture" in answer.json()["error"]


def cuts(data, kind):
    """Every length in its head and at its end, and forty between."""
    whole = len(data) - (2 if kind == "GIF" else 1)  # a GIF's last byte says that it ends
    return sorted(
        {*range(3, 64), *np.linspace(64, whole, 40).astype(int), *range(whole - 8, whole)}
    )


@pytest.mark.parametrize("kind", KINDS)
def test_cut_files_are_refused_as_pictures_that_are_damaged(server, picture, kind):
    """With status 400 and readable words, wherever they are cut."""
    data = encode(picture, kind)
    wrong = {}
    for length in cuts(data, kind):
        answer = server.send_file(data[:length])
        try:
            said = json.loads(answer.content.decode("utf-8"))["error"]
        except ValueError as problem:
            wrong[length] = f"not readable: {problem}"
            continue
        words = ("not a picture", "damaged", "pixels, or none", "Input size should match", kind)
        if answer.status_code != 400 or not any(w.lower() in said.lower() for w in words):
            wrong[length] = said.splitlines()[0]
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
def test_cut_files_never_give_a_picture(server, picture, kind):
    data = encode(picture, kind)
    codes = {length: server.send_file(data[:length]).status_code for length in cuts(data, kind)}
    assert set(codes.values()) == {400}, codes
    for length in cuts(data, kind)[::10]:
        problem = server.send_file_by_grpc(data[:length])
        assert isinstance(problem, grpc.RpcError)
        assert problem.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_give_a_picture_or_a_refusal(server, picture, kind):
    """Bytes overwritten at random: the server goes on, and says 400 where it refuses."""
    random = np.random.default_rng(3)
    for _ in range(60):
        data = bytearray(encode(picture, kind))
        for place in random.integers(6, len(data) if random.random() < 0.5 else 60, 3):
            data[place] = random.integers(256)
        answer = server.send_file(bytes(data))
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 200:
            pixels = from_json(answer)
            assert pixels.shape[0] * pixels.shape[1] <= LIMIT


WRONG = {
    "broken JSON": ("{", 400, "JSON Parse error"),
    "not an object": ([1], 400, "instances"),
    "no instances": ({"signature_name": "serving_bytes"}, 400, "instances"),
    "empty instances": ({"instances": []}, 400, "not empty"),
    "wrong signature": ({"signature_name": "draw", "instances": [1]}, 400, '"draw" not found'),
    "wrong input": ({"inputs": {"pictures": [1]}}, 400, "pictures"),
    "wrong base64": (
        {"signature_name": "serving_bytes", "instances": [{"b64": "a"}]}, 400, "base64",
    ),
    "no tensor": ({"instances": [[[[1, 2, 3]], [[1]]]]}, 400, "shape"),
    "wrong rank": ({"instances": [[1, 2, 3]]}, 400, "shape"),
    "wrong channels": ({"instances": np.zeros((1, 8, 8, 4)).tolist()}, 400, "shape"),
    "strings for numbers": ({"instances": ["horse"]}, 400, "horse"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_requests_that_make_no_sense_are_refused(server, name):
    body, code, words = WRONG[name]
    answer = server.post(body)
    assert answer.status_code == code
    assert words in answer.json()["error"]


@pytest.mark.parametrize("model", ["zebra", "tiny_AtoB/versions/7"])
def test_models_and_versions_that_are_not_there(server, picture, model):
    answer = server.send_file(encode(picture, "PNG"), model=model)
    assert answer.status_code == 404
    with pytest.raises(InputError, match=f"{model} answers 404: .*not found") as caught:
        RestRuntime(f"{server.rest}/{model}", TIMEOUT)
    assert not isinstance(caught.value, BadPicture)
    with pytest.raises(InputError, match=r"NOT_FOUND: .*not found.*has the model") as caught:
        GrpcRuntime(f"{server.grpc}/{model.replace('/versions', '')}", TIMEOUT)
    assert not isinstance(caught.value, BadPicture)


def test_wrong_signature_by_grpc(server, picture):
    problem = server.send_file_by_grpc(encode(picture, "PNG"), signature="draw")
    assert problem.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert '"draw" not found' in problem.details()


@pytest.mark.parametrize("sides", [(10, 8), (8, 10), (4, 8), (8, 4), (0, 8), (7, 7)])
def test_tensors_of_sides_that_do_not_fit_are_refused(server, sides):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "tiny_AtoB"
    request.inputs["images"].CopyFrom(tf.make_tensor_proto(np.zeros((2, *sides, 3), np.float32)))
    with pytest.raises(grpc.RpcError) as caught:
        server.stub.Predict(request, timeout=TIMEOUT)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    said = caught.value.details()
    assert "height and width of images must be multiples of 4 and at least 8" in said
    assert f"[{sides[0]} {sides[1]}]" in said
    if 0 not in sides:
        answer = server.post({"instances": np.zeros((1, *sides, 3)).tolist()})
        assert answer.status_code == 400
        assert "must be multiples of 4 and at least 8" in answer.json()["error"]


def test_tensors_are_limited_all_together(server):
    assert server.post({"instances": np.zeros((2, 100, 100, 3)).tolist()}).status_code == 200
    answer = server.post({"instances": np.zeros((2, 100, 104, 3)).tolist()})
    assert answer.status_code == 400
    assert "images have more than 20000 pixels in all:] [20800]" in answer.json()["error"]


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_clients_tell_a_picture_refused_from_a_server_that_fails(server, picture, expected, kind):
    runtime = backend_for(server, kind, "tiny_AtoB")
    with pytest.raises(BadPicture) as caught:
        runtime(draw(101, 200))
    said = str(caught.value)
    assert said.startswith(f"{runtime.name} refuses it: the picture has more than 20000 pixels")
    assert said.endswith("[200] [101]"), "one line, without the graph around it"
    assert said.count("[") == said.count("]"), said
    assert same(runtime(picture), expected(picture))


# Pictures that are too large, or claim to be


@pytest.fixture(scope="module")
def animation():
    first, *later = (Image.fromarray(draw(37, 50, seed=seed)) for seed in range(4))
    return encode(first, "GIF", save_all=True, append_images=later)


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_is_on_pixels_and_exact(server, expected, kind):
    data = encode(draw(100, 200), kind)
    assert same(from_json(server.send_file(data)), expected(decoded(data)))
    for height, width in ((101, 199), (1, 20001), (20001, 1)):
        said = refused(server, encode(draw(height, width), kind))
        assert "the picture has more than 20000 pixels" in said
        assert f"[{width}] [{height}]" in said


LIES = {
    "PNG": [("PNG", 65535, 65535), ("PNG", 2**31 - 1, 2**31 - 1), ("PNG", 2**32 - 1, 1)],
    # JPEG's library knows no more than 65500.
    "JPEG": [("JPEG", 65500, 65500), ("JPEG", 65500, 1), ("JPEG", 1, 65500)],
    "GIF screen": [("GIF", 65535, 65535), ("GIF", 1, 65535)],
    "GIF frame": [("GIF", 65535, 65535, 0), ("GIF", 65535, 1, 0)],
    "BMP": [("BMP", 65535, 65535), ("BMP", 2**31 - 1, 2**31 - 1), ("BMP", -65535, 65535)],
    "BMP from the top": [("BMP", 65535, -65535), ("BMP", 1, -(2**31)), ("BMP", 2**31 - 1, -1)],
    "no pixels": [("PNG", 0, 9), ("GIF", 0, 9), ("GIF", 9, 0, 0), ("BMP", 0, 9), ("BMP", 9, 0)],
}


@pytest.mark.parametrize("name", LIES)
def test_files_that_claim_to_be_huge_are_refused_before_memory_is_taken(
    server, picture, animation, name
):
    with server.bounded_memory():
        for kind, *claim in LIES[name]:
            honest = animation if kind == "GIF" else encode(picture, kind)
            start = time.monotonic()
            said = refused(server, with_size(honest, kind, *claim))
            assert time.monotonic() - start < 2
            assert "the picture has more than 20000 pixels, or none" in said, claim


def test_jpegs_of_sizes_that_jpeg_knows_not(server, picture):
    with server.bounded_memory():
        for claim in ((65535, 65535), (65535, 1), (0, 9), (9, 0)):
            refused(server, with_size(encode(picture, "JPEG"), "JPEG", *claim))


@pytest.mark.parametrize("frames", [[1], [3], [1, 2, 3]])
def test_later_frames_that_claim_to_be_huge_are_not_looked_at(server, animation, expected, frames):
    data = animation
    for frame in frames:
        data = with_size(data, "GIF", 65535, 65535, frame)
    with server.bounded_memory():
        assert same(from_json(server.send_file(data)), expected(decoded(animation)))


def test_later_frames_that_are_huge_are_not_unpacked(server, animation, expected):
    """Of one colour, and so small in the file: 60 of them would take 2 GB."""
    plain = encode(Image.new("P", (3000, 3000)), "GIF")
    (place,) = gif_frames(plain)
    small = animation[: gif_frames(animation)[1]]
    data = small + 60 * plain[place:-1] + b"\x3b"
    assert len(gif_frames(data)) == 61
    with server.bounded_memory():
        assert same(from_json(server.send_file(data)), expected(decoded(small + b"\x3b")))


def test_animations_whose_later_frames_are_missing(server, animation, expected):
    cut = animation[: gif_frames(animation)[1] + 20]
    assert same(from_json(server.send_file(cut)), expected(decoded(animation)))


# Files that other programs write


def right_or_refused(server, data, wanted):
    answer = server.send_file(data)
    return answer.status_code == 400 or same(from_json(answer), wanted)


def test_bmp_with_a_palette(server, picture, expected):
    """TensorFlow takes its numbers of colours for grey levels, whatever the palette says."""
    data = encode(Image.fromarray(picture).convert("P"), "BMP")
    assert right_or_refused(server, data, expected(decoded(data)))


def test_gif_whose_first_frame_does_not_fill_the_screen(server, picture, expected):
    """A picture of the screen's size, as in every viewer, not of the frame's."""
    data = with_size(encode(picture, "GIF"), "GIF", 60, 40)
    answer = server.send_file(data)
    assert decoded(data).shape == (40, 60, 3)
    assert answer.status_code == 400 or from_json(answer).shape == (40, 60, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_colours_become_grey_as_in_pillow(kind):
    """For models of grey pictures; a level may be rounded otherwise."""
    in_graph = tf.function(lambda file: serving.decode(file, 1, lambda side: side, LIMIT))
    data = encode(draw(37, 50), kind)
    pixels = in_graph(tf.constant(data)).numpy()
    assert pixels.shape == (37, 50, 1)
    assert abs(pixels.astype(int) - decoded(data, 1)).max() <= 1


# Many clients


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_one_bad_file_fails_its_own_request_alone(server, picture, expected, kind):
    good, bad = encode(picture, "PNG"), encode(picture, "PNG")[:500]
    with ThreadPoolExecutor(3) as pool:
        send = server.send_file if kind == "rest" else server.send_file_by_grpc
        batches = [[good, good], [good, bad, good], [good, good]] * 4
        answers = list(pool.map(lambda batch: send(*batch), batches))
    take = from_json if kind == "rest" else from_grpc
    for batch, answer in zip(batches, answers, strict=True):
        if bad in batch:
            code = answer.status_code if kind == "rest" else answer.code()
            assert code in (400, grpc.StatusCode.INVALID_ARGUMENT)
        else:
            assert all(same(take(answer, index), expected(picture)) for index in range(2))


def test_eight_clients_at_once_get_each_its_own_answers(server, expected):
    clients = [
        backend_for(server, kind, model)
        for kind in ("rest", "grpc")
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
            bad = encode(pixels, KINDS[turn % 4])[: 30 + 10 * turn]
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
def test_warm_up_asks_each_signature_once(exports, networks, model):
    file = version_folder(exports, model) / "assets.extra" / "tf_serving_warmup_requests"
    records = tf.data.TFRecordDataset(str(file)).as_numpy_iterator()
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    requested = {log.predict_log.request.model_spec.signature_name: log for log in logs}
    assert len(logs) == 2
    assert set(requested) == {"serving_default", "serving_bytes"}
    for log in logs:
        assert log.WhichOneof("log_type") == "predict_log"
        assert log.predict_log.request.model_spec.name == model
    channels = networks[model].input_shape[-1]
    images = requested["serving_default"].predict_log.request.inputs["images"]
    assert tf.make_ndarray(images).shape == (1, 32, 32, channels)
    (data,) = tf.make_ndarray(requested["serving_bytes"].predict_log.request.inputs["image_bytes"])
    assert decoded_png(data).shape == (32, 32, channels)


def test_the_server_answered_all_warm_up_requests_before_any_other(running):
    assert running.warm_ups == dict.fromkeys(MODELS, 2)


def read_config(export):
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((export / "serving" / "models.config").read_text(), config)
    return {entry.name: entry for entry in config.model_config_list.config}


def staged(folder, content="weights"):
    """A version ready to be published, as a folder with a file in it."""
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


def test_a_server_that_polls_sees_whole_versions_alone(tmp_path):
    """While four threads publish at once, none of them onto another's."""
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


# Servers that are down, slow to come up, or something else


@pytest.fixture
def closed_port():
    """One that nobody listens on."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as unused:
        return unused.server_port


@pytest.fixture
def pauses(monkeypatch):
    """What the REST client would have slept, instead of sleeping."""
    lengths = []
    clock = SimpleNamespace(sleep=lengths.append, time=time.time)
    monkeypatch.setattr("urllib3.util.retry.time", clock)
    return lengths


def test_rest_gives_up_on_a_closed_port_after_half_a_minute(closed_port, pauses):
    url = f"http://127.0.0.1:{closed_port}/v1/models/tiny_AtoB"
    with pytest.raises(InputError, match=r"does not answer.*refused.*check that the server") as it:
        RestRuntime(url, TIMEOUT)
    assert url in str(it.value)
    assert "\n" not in str(it.value)
    assert 20 < sum(pauses) < 45
    assert pauses == sorted(pauses)


def test_grpc_gives_up_on_a_closed_port(closed_port):
    url = f"grpc://127.0.0.1:{closed_port}/tiny_AtoB"
    start = time.monotonic()
    with pytest.raises(InputError, match=r"does not answer.*check that the server") as it:
        GrpcRuntime(url, timeout=1.0)
    assert url in str(it.value)
    assert "\n" not in str(it.value)
    assert time.monotonic() - start < 5


@pytest.fixture
def web_server():
    """Starts servers that give a list of `(code, body)`, one for each request, then the last."""
    started = []

    def start(*answers):
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked.append(self.path)
                code, body = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(code)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            do_POST = do_GET

            def log_message(self, *_):
                pass

        asked = []
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_port}/v1/models/some", asked

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def metadata_of(**signatures):
    dims = {"tensor_shape": {"dim": [{"size": size} for size in ("-1", "-1", "-1", "3")]}}
    found = {
        name: {"inputs": {argument: dims}, "outputs": {argument: dims}}
        for name, argument in signatures.items()
    }
    return {"metadata": {"signature_def": {"signature_def": found}}}


METADATA = metadata_of(serving_default="images", serving_bytes="image_bytes")


def test_rest_asks_an_overloaded_server_again(web_server, picture, pauses):
    busy = (503, {"error": "overloaded"})
    drawn = {"predictions": [b64(encode(picture[::-1], "PNG"))]}
    url, asked = web_server(busy, busy, (200, METADATA), busy, (429, b""), (200, drawn))
    runtime = RestRuntime(url, TIMEOUT)
    np.testing.assert_array_equal(runtime(picture), picture[::-1])
    assert asked == ["/v1/models/some/metadata"] * 3 + ["/v1/models/some:predict"] * 3
    assert all(length > 0 for length in pauses)


def test_rest_gives_up_on_a_server_that_stays_overloaded(web_server, picture, pauses):
    url, asked = web_server((200, METADATA), (503, {"error": "overloaded"}))
    runtime = RestRuntime(url, TIMEOUT)
    with pytest.raises(InputError, match=f"{url} answers 503: overloaded") as caught:
        runtime(picture)
    assert not isinstance(caught.value, BadPicture)
    assert 3 < len(asked) < 12


def test_rest_does_not_ask_a_slow_server_again(pauses):
    """It still works on what it was asked, and would get seven times as much to do."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            time.sleep(1)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(InputError, match=r"does not answer.*timed out"):
            RestRuntime(f"http://127.0.0.1:{server.server_port}/v1/models/some", 0.1)
        server.shutdown()
    assert len(asked) == 1


class Unavailable(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Says UNAVAILABLE twice to each kind of request, then answers."""

    def __init__(self, drawn):
        self.asked = []
        self._drawn = drawn

    def _count(self, kind, context):
        self.asked.append(kind)
        if self.asked.count(kind) <= 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")

    def GetModelMetadata(self, request, context):
        self._count("metadata", context)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        signatures.signature_def["serving_bytes"].inputs["image_bytes"].name = "b"
        images = signatures.signature_def["serving_default"].inputs["images"]
        images.tensor_shape.dim.add(size=3)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.metadata["signature_def"].Pack(signatures)
        return answer

    def Predict(self, request, context):
        self._count("predict", context)
        answer = predict_pb2.PredictResponse()
        answer.outputs["image_bytes"].CopyFrom(tf.make_tensor_proto([self._drawn]))
        return answer


def test_grpc_asks_an_unavailable_server_again(picture):
    service = Unavailable(encode(picture[::-1], "PNG"))
    server = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        runtime = GrpcRuntime(f"grpc://127.0.0.1:{port}/some", TIMEOUT)
        np.testing.assert_array_equal(runtime(picture), picture[::-1])
        assert service.asked == ["metadata"] * 3 + ["predict"] * 3
    finally:
        server.stop(None)


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>It works!</html>"),
        (200, {}),
        (200, {"metadata": []}),
        (200, metadata_of(serving_default="x")),
        (200, metadata_of(serving_default="images")),
        (200, metadata_of(serving_default="images", serving_bytes="text")),
    ],
    ids=["a web page", "nothing", "a list", "another", "half", "other input"],
)
def test_rest_refuses_what_is_no_server_of_these_models(web_server, answer):
    url, _ = web_server(answer)
    with pytest.raises(InputError, match=f"{url}: that model has no signature serving_default"):
        RestRuntime(url, TIMEOUT)


@pytest.mark.parametrize(
    "answer",
    [b"{}", b"[]", b"no json", {"predictions": []}, {"predictions": ["text"]},
     {"predictions": [{"b64": "AAAA"}]}, {"predictions": [{"b64": "A"}]}],
)  # fmt: skip
def test_rest_refuses_answers_that_are_no_pictures(web_server, picture, answer):
    url, _ = web_server((200, METADATA), (200, answer))
    with pytest.raises(InputError, match="something else than a picture") as caught:
        RestRuntime(url, TIMEOUT)(picture)
    assert not isinstance(caught.value, BadPicture)


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


def test_saved_models_without_the_signatures_are_refused(tmp_path, networks):
    class Doubles(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32)])
        def __call__(self, x):
            return {"y": x + x}

    tf.saved_model.save(Doubles(), str(tmp_path / "doubles"))
    networks["tiny_AtoB"].export(tmp_path / "keras", verbose=False)
    for name in ("doubles", "keras"):
        with pytest.raises(InputError, match=f"{name}: no signature serving_default from images"):
            open_runtime(tmp_path / name)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="damaged: not a SavedModel that can be loaded") as caught:
        open_runtime(damaged)
    assert "\n" not in str(caught.value)


def test_folders_with_nothing_in_them_are_refused(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "serving" / "AtoB" / "x").mkdir(parents=True)
    with pytest.raises(InputError, match="no run, SavedModel or export in that folder"):
        open_runtime(tmp_path)
    with pytest.raises(InputError, match="there is no such file or folder"):
        open_runtime(tmp_path / "missing")
