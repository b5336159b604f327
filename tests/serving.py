"""Exported models, picture files and a model server for the tests of export and runtimes.

The fixtures `networks`, `exports`, `running` and `server` in conftest.py are made of these.
"""

import base64
import io
import json
import struct
import subprocess
import sys
import threading
import zlib
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import requests
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfcyclegan import resnet_generator, unet_generator
from tfcyclegan.export import serving
from tfcyclegan.runtimes.protocol import MAX_PIXELS

LIMIT = 20_000
TIMEOUT = 20.0
SIZES = [(37, 50), (1, 1), (1, 9), (3, 2), (8, 8), (5, 100)]
MODELS = ["tiny_AtoB", "tiny_BtoA", "small_AtoB", "small_BtoA"]
KINDS = ["JPEG", "PNG"]


def randomised(network, seed, scale=0.07):
    """Random weights as large as trained ones, different for each seed."""
    random = np.random.default_rng(seed)
    network.set_weights([scale * random.standard_normal(w.shape) for w in network.get_weights()])
    return network


def make_networks():
    """Two ResNets, a U-Net and a ResNet for grey pictures, by their names on the server.

    The last has no norm, so its output is reproducible for pictures of one colour.
    """
    resnet = {"filters": 4, "blocks": 1}
    return {
        "tiny_AtoB": randomised(resnet_generator(**resnet), 1),
        "tiny_BtoA": randomised(resnet_generator(**resnet), 2),
        "small_AtoB": randomised(unet_generator(filters=4, depth=5), 3),
        "small_BtoA": randomised(resnet_generator(channels=1, norm="none", **resnet), 4, 0.15),
    }


def write_exports(networks, folder):
    """Exports the networks as `tiny` and `small`. Only the U-Net takes large pictures."""
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
    """A model server in its own process, and short methods for requests to it."""

    def __init__(self, directories, errors):
        self._errors = errors
        with errors.open("w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).parent / "model_server.py", *directories],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def ready(self):
        """Waits for the server's ports, or fails with its errors."""
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
        """Posts an object or text, as `curl -d` does."""
        data = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return self._session.post(f"{self.rest}/{model}:predict", data=data, timeout=TIMEOUT)

    def send_file(self, *files, model="tiny_AtoB"):
        return self.post(
            {"signature_name": "serving_bytes", "instances": [b64(file) for file in files]}, model
        )

    def send_images_by_grpc(self, images, model="tiny_AtoB"):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.inputs["images"].CopyFrom(tf.make_tensor_proto(images))
        return self.stub.Predict(request, timeout=TIMEOUT)

    def send_file_by_grpc(self, *files, model="tiny_AtoB", signature="serving_bytes"):
        """Returns the answer or the RpcError."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(list(files)))
        try:
            return self.stub.Predict(request, timeout=TIMEOUT)
        except grpc.RpcError as problem:
            return problem

    @contextmanager
    def bounded_memory(self, megabytes=200):
        """Fails if the server's peak memory grows by more than that."""
        process = Path(f"/proc/{self.process.pid}")
        (process / "clear_refs").write_text("5")  # resets the peak
        before = self._peak_memory()
        yield
        assert self._peak_memory() - before < megabytes

    def _peak_memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


def draw(height, width, channels=3, seed=0):
    """Waves of random lengths with a little noise: JPEG keeps most of such a picture."""
    random = np.random.default_rng([seed, height, width])
    y, x = np.mgrid[:height, :width]
    waves = [
        np.sin(x * random.uniform(-1, 1) + y * random.uniform(-1, 1) + random.uniform(0, 6))
        for _ in range(channels)
    ]
    noise = random.integers(-20, 21, (height, width, channels))
    return np.clip(127.5 + 100 * np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def encode(image, kind, **settings):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def decoded(data, channels=3):
    """Decodes a file with Pillow, as the rest of the package does."""
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
    """Whether two pictures differ by at most one level, which is rounding.

    Pictures of one pixel are compared only by size: instance norm divides the rounding error of
    their variance by itself, in every layer.
    """
    if pixels.shape == others.shape == (1, 1, 3):
        return True
    return pixels.shape == others.shape and abs(pixels.astype(int) - others).max() <= 1


def with_size(data, kind, width, height):
    """The same file with another size in its header."""
    data = bytearray(data)
    if kind == "PNG":
        data[16:24] = struct.pack(">II", width, height)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def images_for(network):
    """Batches of random pictures of several numbers and sizes."""
    multiple = 32 if network.name == "unet_generator" else 4
    random = np.random.default_rng(5)
    return [
        random.uniform(-1, 1, (batch, height * multiple, width * multiple, network.input_shape[-1]))
        .astype(np.float32)
        for batch, height, width in ((1, 2, 2), (3, 2, 5), (2, 4, 3), (1, 7, 2))
    ]  # fmt: skip


def refused(server, data):
    """The reason that REST and gRPC give for refusing a file; fails if they accept it."""
    answer = server.send_file(data)
    assert answer.status_code == 400, answer.content[:300]
    problem = server.send_file_by_grpc(data)
    assert isinstance(problem, grpc.RpcError)
    assert problem.code() == grpc.StatusCode.INVALID_ARGUMENT
    # Strict decoding: clients cannot read an error that holds bytes of the file.
    said = json.loads(answer.content.decode("utf-8"))["error"]
    assert said.split(":")[0] in problem.details()
    return said
