"""A trained generator in whatever form it is: Keras, SavedModel, LiteRT, or behind a server.

Each gives the same picture for the same picture; only quantised LiteRT files differ, within
their bars. All that a back end imports beyond TensorFlow it imports when it is opened.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from .data.preprocessing import to_float, to_uint8
from .errors import InputError, first_line
from .networks import GENERATORS, Direction, divisor, least_size, with_precision

#: Pixels of the largest picture a back end takes at once unless it says otherwise: Full HD and a
#: little. The paper's generator needs about 1.5 KB of memory for each.
MAX_PIXELS = 2**21

#: What an exported model says about itself: a file in a SavedModel's assets.extra, an entry in a
#: LiteRT file's list of metadata.
DESCRIPTION_NAME = "tfcyclegan.json"


class BadPicture(InputError):
    """This picture cannot be translated here; others may be."""


class Backend(Protocol):
    """A generator that translates one picture at a time.

    Attributes:
        name: what to call it in a message.
        direction: "AtoB" or "BtoA", where that is known, or None.
        channels: int, channels of the pictures it reads: 3 (RGB) or 1 (grey).
        size: `(height, width)` in px of the only size it takes, or None for any.
        max_pixels: int, pixels of the largest picture it takes at once.
        concurrent: int, calls that may run at the same time.
    """

    name: str
    direction: Direction | None
    channels: int
    size: tuple[int, int] | None
    max_pixels: int
    concurrent: int

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Translates uint8 `[H, W, channels]` to uint8 `[H, W, channels']`.

        Raises:
            BadPicture: it refuses this picture.
            InputError: it refuses to work.
        """


def open_backend(
    model: str | os.PathLike | keras.Model,
    direction: Direction | None = None,
    timeout: float = 60.0,
    threads: int | None = None,
) -> Backend:
    """Finds out what a model is and opens it.

    Args:
        model: a run folder, a `.keras` file, an export's folder, a SavedModel, a `.tflite` file,
            `http://HOST:PORT/v1/models/NAME` (TF Serving's REST), `grpc://HOST:PORT/NAME`, or a
            `CycleGAN` or generator in memory.
        direction: "AtoB" or "BtoA". Default: AtoB where the model has both, else the one it has.
        timeout: float, seconds that a server may take for one answer.
        threads: int, threads to compute with, where it is not a server that computes. Default: as
            many as there are cores. (With another number TensorFlow's sums are rounded otherwise.)

    Raises:
        InputError: nothing there, or not a generator.

    Example:
        ```python
        to_zebra = open_backend("exports/horse2zebra/litert/AtoB-int8.tflite")
        zebra = to_zebra(np.asarray(Image.open("horse.jpg")))
        ```
    """
    if threads is not None:
        _compute_with(threads)
    backend = _open(model, direction or "AtoB", timeout, threads)
    if direction and backend.direction not in (direction, None):
        raise InputError(
            f"{backend.name} goes {backend.direction}: leave --direction {direction} out, or give "
            "the other model"
        )
    return backend


def _compute_with(threads: int) -> None:
    """Tells TensorFlow before it starts."""
    if threads < 1:
        raise InputError(f"--threads {threads}: at least 1 thread computes")
    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as problem:
        raise InputError(
            f"--threads {threads}: TensorFlow computes in this process already"
        ) from problem


def _open(
    model: str | os.PathLike | keras.Model,
    direction: Direction,
    timeout: float,
    threads: int | None,
) -> Backend:
    if isinstance(model, keras.Model):
        return _keras_backend(model, direction, model.name)
    text = os.fspath(model)
    if re.match(r"https?://", text):
        return RestBackend(text, timeout)
    if text.startswith("grpc://"):
        return GrpcBackend(text, timeout)
    path = Path(text)
    if not path.exists():
        raise InputError(
            f"--model {text}: there is no such file or folder; give a run folder, a .keras file, a "
            "SavedModel, a .tflite file or a server's http:// or grpc:// address"
        )
    if path.suffix == ".tflite" and path.is_file():
        return LiteRTBackend(path, threads)
    if path.suffix == ".keras" or (path / "config.json").exists():
        return _keras_backend(load_model(path), direction, text)
    for candidate in (path, *versions(path)[-1:], *versions(path / "serving" / direction)[-1:]):
        if (candidate / "saved_model.pb").exists():
            return SavedModelBackend(candidate)
    raise InputError(
        f"--model {text}: no run, SavedModel or export in that folder (looked for config.json, "
        f"saved_model.pb, numbered versions and serving/{direction})"
    )


def _keras_backend(model: keras.Model, direction: Direction, name: str) -> KerasBackend:
    backend = KerasBackend(generator_of(model, direction, name), name)
    backend.direction = direction if hasattr(model, "generator") else direction_of(model)
    return backend


def versions(directory: str | os.PathLike) -> list[Path]:
    """A model's version folders, oldest first, as TF Serving finds them: names of digits alone."""
    folder = Path(directory)
    found = [path for path in folder.glob("[0-9]*") if path.is_dir()]
    found = [path for path in found if re.fullmatch("[0-9]+", path.name)]
    return sorted(found, key=lambda path: int(path.name))


def read_metadata(model: bytes) -> dict[str, Any] | None:
    """What a LiteRT file says about itself, or None in one that `export` did not write."""
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(model, 0)
    for index in range(root.MetadataLength()):
        entry = root.Metadata(index)
        if entry.Name() == DESCRIPTION_NAME.encode():
            return json.loads(root.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None


def load_model(path: Path) -> keras.Model:
    """Loads what a run folder or a `.keras` file holds.

    Raises:
        InputError: a run that is not finished, or no file of Keras's.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    file = path / "model.keras" if path.is_dir() else path
    if not file.exists():
        raise InputError(
            f"{file}: there is no such file: the run is not finished; go on with "
            f"`train --resume --run-dir {shlex.quote(str(path))}`"
        )
    try:
        # safe_mode: code in a lambda layer is not run.
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as problem:  # Keras raises whatever its parts do
        raise InputError(
            f"{file}: not a model this version can load "
            f"({type(problem).__name__}: {first_line(problem)})"
        ) from problem


def generator_of(model: keras.Model, direction: Direction, where: object) -> keras.Model:
    """G or F of a `CycleGAN`, or the model itself where it is a generator alone.

    Raises:
        InputError: it does not take pictures.
    """
    network = model.generator(direction) if hasattr(model, "generator") else model
    shapes = getattr(network, "input_shape", None), getattr(network, "output_shape", None)
    pictures = all(
        isinstance(shape, tuple) and len(shape) == 4 and shape[-1] in (1, 3) for shape in shapes
    )
    if not pictures or "layers" not in network.get_config():
        raise InputError(
            f"{where}: not a generator: it goes from {shapes[0]} to {shapes[1]} where pictures are "
            "[N, H, W, 3] or [N, H, W, 1], or it is no functional Keras model"
        )
    if shapes[0][1:3] != (None, None):
        raise InputError(f"{where}: takes {shapes[0]} alone, where pictures come in any size")
    return network


def direction_of(generator: keras.Model) -> Direction | None:
    """Which way a generator alone goes, as its name says, or None where that says nothing."""
    return next((way for way, name in GENERATORS.items() if name == generator.name), None)


def padded(pixels: np.ndarray, divisor: int, least: int) -> np.ndarray:
    """Mirrored to the right and below, to multiples of the divisor and at least the least size."""
    size = np.array(pixels.shape[:2])
    grown = np.maximum(-(-size // divisor) * divisor, least)
    return np.pad(pixels, [*((0, int(more)) for more in grown - size), (0, 0)], mode="reflect")


def _in_floats(
    run: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, divisor: int, least: int
) -> np.ndarray:
    """uint8 in and out around a generator of floats, padded as it needs."""
    height, width = pixels.shape[:2]
    images = to_float(padded(pixels, divisor, least)).numpy()[np.newaxis]
    return to_uint8(run(images)[0, :height, :width])


class KerasBackend:
    """A generator in Keras, computing in float32 whatever it was trained in."""

    size = None
    concurrent = 1
    max_pixels = 2**20  # larger ones go through `translation.streaming`, with the same result

    def __init__(self, network: keras.Model, name: str):
        self.name = name
        self.direction: Direction | None = None
        self.network = with_precision(network, "float32")
        self.channels = network.input_shape[-1]
        self.divisor, self.least = divisor(network), least_size(network)
        # One picture at a time, of any size, from one trace.
        self._run = tf.function(
            lambda images: self.network(images, training=False),
            input_signature=[tf.TensorSpec((1, None, None, self.channels), tf.float32)],
        )

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 `[1, H, W, C]` in [-1, 1] → the same."""
        return self._run(images).numpy()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return _in_floats(self.run, pixels, self.divisor, self.least)


class SavedModelBackend:
    """A SavedModel with the signatures that `export` writes."""

    size = None
    concurrent = 1

    def __init__(self, path: Path):
        self.name = str(path)
        try:
            self._model = tf.saved_model.load(str(path))
            signatures = dict(self._model.signatures)
        except Exception as problem:  # damaged files raise all kinds
            raise InputError(
                f"{path}: not a SavedModel that can be loaded ({first_line(problem)})"
            ) from problem
        for name, argument in (("serving_default", "images"), ("serving_bytes", "image_bytes")):
            found = signatures.get(name)
            arguments = found.structured_input_signature[1] if found else {}
            if list(arguments) != [argument] or list(found.structured_outputs) != [argument]:
                raise InputError(
                    f"{path}: no signature {name} from {argument} to {argument} in it (it has "
                    f"{', '.join(signatures) or 'none'}): export the generator with this package"
                )
        self._images, self._bytes = signatures["serving_default"], signatures["serving_bytes"]
        self.channels = self._images.structured_input_signature[1]["images"].shape[-1]
        if self.channels not in (1, 3):
            raise InputError(f"{path}: takes pictures of {self.channels} channels: not 1 or 3")
        self.direction, self.max_pixels = None, MAX_PIXELS
        description = path / "assets.extra" / DESCRIPTION_NAME
        try:
            if description.exists():
                about = json.loads(description.read_text())
                self.direction = about["direction"]
                self.max_pixels = int(about["max_pixels"])
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise InputError(f"{description}: damaged: export the generator again") from problem

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 `[N, H, W, C]` in [-1, 1] → the same, by `serving_default`."""
        return self._images(images=tf.constant(images))["images"].numpy()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        try:
            answer = self._bytes(image_bytes=tf.constant([_to_png(pixels)]))
        except tf.errors.OpError as problem:
            raise BadPicture(f"{self.name} refuses it: {_assertion(str(problem))}") from problem
        return _from_png(answer["image_bytes"].numpy()[0], pixels, self.name)


class LiteRTBackend:
    """A `.tflite` file, run by LiteRT on the CPU."""

    concurrent = 1
    max_pixels = MAX_PIXELS

    def __init__(self, path: Path, threads: int | None = None):
        from ai_edge_litert.interpreter import Interpreter

        self.name = str(path)
        self.threads = threads or os.cpu_count() or 1
        try:
            content = path.read_bytes()
            self._interpreter = Interpreter(model_content=content, num_threads=self.threads)
            about = read_metadata(content) or {}
            self.direction = about.get("direction")
            needs = about.get("size", {})
            self._divisor = max(1, int(needs.get("multiple_of", 4)))
            self._least = int(needs.get("at_least", 8))
        except Exception as problem:
            raise InputError(
                f"{path}: not a LiteRT file ({first_line(problem)}): export it again"
            ) from problem
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shape = [int(side) for side in inputs[0]["shape_signature"]] if inputs else []
        if (
            len(inputs) != 1
            or len(outputs) != 1
            or len(shape) != 4
            or shape[0] not in (1, -1)
            or shape[3] not in (1, 3)
            or inputs[0]["dtype"] != np.float32
            or outputs[0]["dtype"] != np.float32
            or len(outputs[0]["shape"]) != 4
            or outputs[0]["shape"][3] not in (1, 3)
        ):
            raise InputError(
                f"{path}: takes {shape} {inputs[0]['dtype'].__name__ if inputs else ''} where a "
                "generator takes [1, H, W, 3] or [1, H, W, 1] float32 and gives that: it is none"
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.channels = shape[3]
        self.size = None if -1 in shape[1:3] else (shape[1], shape[2])
        self._keep = content  # the interpreter reads from it
        self._allocated: tuple[int, ...] | None = None
        if self.size:
            self._allocate((1, *self.size, self.channels))

    def _allocate(self, shape: tuple[int, ...]) -> None:
        if self._allocated != shape:
            self._interpreter.resize_tensor_input(self._input, shape, strict=False)
            self._interpreter.allocate_tensors()
            self._allocated = shape

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 `[1, H, W, C]` in [-1, 1] → the same."""
        self._allocate(images.shape)
        self._interpreter.set_tensor(self._input, images)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        if self.size:
            if pixels.shape[:2] != self.size:
                raise BadPicture(f"{self.name} takes {self.size[1]}×{self.size[0]} px alone")
            return _in_floats(self.run, pixels, 1, 1)
        return _in_floats(self.run, pixels, self._divisor, self._least)


class RestBackend:
    """TF Serving's REST interface, `http://HOST:PORT/v1/models/NAME`.

    A server that cannot be reached or is overloaded is asked again, with growing pauses, for
    about half a minute. One that takes longer than the timeout is not.
    """

    direction = None
    size = None
    max_pixels = MAX_PIXELS
    concurrent = 4

    def __init__(self, url: str, timeout: float):
        import requests
        from urllib3.util import Retry

        url = url.removesuffix("/").removesuffix(":predict")
        if not re.match(r"https?://[^/]+/v1/models/[^/:]+(/(versions|labels)/[^/:]+)?$", url):
            raise InputError(
                f"--model {url}: not the address of a model: give "
                "http://HOST:8501/v1/models/NAME, with /versions/N behind it for one version"
            )
        self.name = url
        self._timeout = timeout
        self._requests = requests
        self._session = requests.Session()
        retry = Retry(
            total=6, read=0, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504),
            allowed_methods=None, raise_on_status=False, respect_retry_after_header=False,
        )  # fmt: skip
        adapter = requests.adapters.HTTPAdapter(max_retries=retry, pool_maxsize=self.concurrent)
        self._session.mount(url, adapter)
        answer = self._ask("get", f"{url}/metadata")
        if answer.status_code != 200:
            raise InputError(f"{url} answers {answer.status_code}: {_said(answer)}")
        try:
            signatures = answer.json()["metadata"]["signature_def"]["signature_def"]
            dims = signatures["serving_default"]["inputs"]["images"]["tensor_shape"]["dim"]
            self.channels = int(dims[-1]["size"])
            found = "image_bytes" in signatures["serving_bytes"]["inputs"]
        except (ValueError, KeyError, IndexError, TypeError) as problem:
            raise InputError(_without_signatures(url)) from problem
        if not found or self.channels not in (1, 3):
            raise InputError(_without_signatures(url))

    def _ask(self, method: str, url: str, **body: Any) -> Any:
        try:
            return self._session.request(method, url, timeout=self._timeout, **body)
        except self._requests.RequestException as problem:
            raise InputError(
                f"{url} does not answer ({_cause(problem)}): check that the server runs and is "
                "reached from here"
            ) from problem

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        text = base64.b64encode(_to_png(pixels)).decode()
        body = {"signature_name": "serving_bytes", "instances": [{"b64": text}]}
        answer = self._ask("post", f"{self.name}:predict", json=body)
        if answer.status_code == 400:
            raise BadPicture(f"{self.name} refuses it: {_assertion(_said(answer))}")
        if answer.status_code != 200:
            raise InputError(f"{self.name} answers {answer.status_code}: {_said(answer)}")
        try:
            data = base64.b64decode(answer.json()["predictions"][0]["b64"])
        except (ValueError, KeyError, IndexError, TypeError) as problem:
            raise InputError(f"{self.name} answers something else than a picture") from problem
        return _from_png(data, pixels, self.name)


class GrpcBackend:
    """TF Serving's gRPC interface, `grpc://HOST:PORT/NAME` (or `/NAME/VERSION`)."""

    direction = None
    size = None
    max_pixels = MAX_PIXELS
    concurrent = 4

    def __init__(self, url: str, timeout: float):
        import grpc
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        parts = re.fullmatch(r"grpc://([^/]+)/([^/]+)(?:/([0-9]{1,18}))?/?", url)
        if not parts:
            raise InputError(
                f"--model {url}: not the address of a model: give grpc://HOST:8500/NAME"
            )
        self.name = url
        self._timeout = timeout
        self._grpc = grpc
        self._predict_pb2 = predict_pb2
        address, self._model, self._version = parts.groups()
        policy = {
            "maxAttempts": 5, "initialBackoff": "0.5s", "maxBackoff": "8s",
            "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"],
        }  # fmt: skip
        service = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.service_config", json.dumps(service)),
                # Pictures are larger than the usual 4 MB.
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self.channels = self._ask_channels()

    def _ask_channels(self) -> int:
        from google.protobuf.message import DecodeError
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._name_model(request.model_spec)
        answer = self._call(self._service.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        try:
            answer.metadata["signature_def"].Unpack(signatures)
            found = signatures.signature_def
            channels = found["serving_default"].inputs["images"].tensor_shape.dim[-1].size
            if "image_bytes" not in found["serving_bytes"].inputs or channels not in (1, 3):
                raise KeyError("image_bytes")
        except (KeyError, IndexError, DecodeError) as problem:
            raise InputError(_without_signatures(self.name)) from problem
        return channels

    def _name_model(self, spec: Any) -> None:
        spec.name = self._model
        if self._version:
            spec.version.value = int(self._version)

    def _call(self, method: Callable, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except self._grpc.RpcError as problem:
            said = problem.details() or "no reason given"
            if problem.code() == self._grpc.StatusCode.INVALID_ARGUMENT:
                raise BadPicture(f"{self.name} refuses it: {_assertion(said)}") from problem
            raise InputError(
                f"{self.name} does not answer as it should ({problem.code().name}: "
                f"{first_line(said)}): check that the server runs and has the model {self._model}"
            ) from problem

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        request = self._predict_pb2.PredictRequest()
        self._name_model(request.model_spec)
        request.model_spec.signature_name = "serving_bytes"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([_to_png(pixels)]))
        answer = self._call(self._service.Predict, request)
        try:
            data = tf.make_ndarray(answer.outputs["image_bytes"])[0]
        except (ValueError, KeyError, IndexError, TypeError) as problem:
            raise InputError(f"{self.name} answers something else than a picture") from problem
        return _from_png(data, pixels, self.name)


def _without_signatures(where: str) -> str:
    return (
        f"{where}: that model has no signature serving_default from images and serving_bytes from "
        "image_bytes: serve one that this package exported"
    )


def _to_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    image = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    # Lossless at any level; the lowest is the fastest.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _from_png(data: bytes, asked: np.ndarray, name: str) -> np.ndarray:
    """The answer to a picture; what a server says is not trusted.

    Raises:
        InputError: it is no 8-bit PNG of the size that was asked for.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        height, width = asked.shape[:2]
        if image.size != (width, height) or image.mode not in ("L", "RGB"):
            raise ValueError(f"{image.mode} of {image.size}")
        return np.asarray(image).reshape(height, width, -1)
    except Exception as problem:  # Pillow raises all kinds on damaged files
        raise InputError(
            f"{name} answers something else than a picture of the size it was given"
        ) from problem


def _assertion(text: str) -> str:
    """What TensorFlow's error is about, without the graph around it."""
    found = re.search(r"assertion failed: \[([^\]]*)\]((?: \[[^\[\]]*\])*)", text)
    if found:
        return found[1] + found[2]
    lines = [line for line in text.splitlines() if line.strip() and "Graph execution" not in line]
    return lines[0][:300] if lines else "no reason given"


def _said(answer: Any) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return first_line(answer.text)


def _cause(problem: BaseException) -> str:
    """The innermost reason of a failed connection: the outer ones repeat addresses."""
    reason: Any = problem
    while (inner := getattr(reason, "reason", None) or next(iter(reason.args), None)) is not None:
        if not isinstance(inner, BaseException):
            break
        reason = inner
    return first_line(reason).split(": ", 1)[-1]
