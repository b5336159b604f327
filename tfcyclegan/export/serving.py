"""SavedModels in TF Serving's layout.

    serving/models.config, batching.config
    serving/AtoB/1/          a version of G
    serving/BtoA/1/          a version of F
    compose.yaml

They need neither Python nor this package nor custom operations.
"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import tensorflow as tf

from ..files import write_text
from ..networks.inspection import divisor, least_size
from ..networks.twins import with_precision
from ..runtimes.protocol import DESCRIPTION_NAME, MAX_PIXELS
from ..runtimes.saved_model import versions
from .servable import Servable


def write_saved_model(
    generator: keras.Model,
    directory: str | Path,
    *,
    model_name: str,
    direction: str = "AtoB",
    precision: str = "float32",
    image_size: tuple[int, int] = (256, 256),
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Writes one version of a servable generator.

    Args:
        generator: a functional model, of any precision.
        directory: the version's folder.
        model_name: the model's name on the server, for the warm-up requests.
        direction: "AtoB" or "BtoA", for its description.
        precision: "float32" (default) or "bfloat16", for its computation.
        image_size: `(height, width)` in px of the pictures in the warm-up requests.
        max_pixels: see `Servable`.
    """
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
    servable = Servable(with_precision(generator, policy), max_pixels)
    tf.saved_model.save(servable, str(directory), signatures=servable.functions)
    description = {
        "format": "tfcyclegan/1",
        "direction": direction,
        "precision": precision,
        "channels": generator.input_shape[-1],
        "multiple_of": divisor(generator),
        "at_least": least_size(generator),
        "max_pixels": max_pixels,
    }
    extra = Path(directory, "assets.extra")
    extra.mkdir()
    (extra / DESCRIPTION_NAME).write_text(json.dumps(description, indent=2) + "\n")
    shape = (*image_size, generator.input_shape[-1])
    _write_warm_up(extra / "tf_serving_warmup_requests", model_name, shape)


def _write_warm_up(path: Path, model_name: str, shape: tuple[int, int, int]) -> None:
    """Writes a request for each signature. The server runs them before the model is available."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    png = tf.io.encode_png(tf.fill(shape, tf.constant(128, tf.uint8))).numpy()
    requests = {
        # One value for the whole shape keeps the file small.
        "serving_default": ("images", tf.make_tensor_proto(0.0, shape=(1, *shape))),
        "serving_bytes": ("image_bytes", tf.make_tensor_proto([png])),
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, (name, value) in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            request.inputs[name].CopyFrom(value)
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def publish(staged: Path, directory: Path) -> Path:
    """Moves a finished version to the next free number in a model's folder, atomically."""
    directory.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in versions(directory)), default=0) + 1
    while True:
        target = directory / str(number)
        try:
            return staged.rename(target)
        except OSError:
            if not target.exists():
                raise
            number += 1  # another process was faster


def write_server_files(export_dir: Path, name: str) -> None:
    """Writes `models.config` for the published models, `batching.config` and `compose.yaml`."""
    serving = export_dir / "serving"
    entries = [
        f"  config {{\n"
        f'    name: "{name}_{direction}"\n'
        f'    base_path: "/models/{direction}"\n'
        f'    model_platform: "tensorflow"\n'
        f"  }}\n"
        for direction in ("AtoB", "BtoA")
        if versions(serving / direction)
    ]
    write_text(serving / "models.config", "model_config_list {\n" + "".join(entries) + "}\n")
    # Users edit these two, so they are not overwritten.
    files = {serving / "batching.config": _BATCHING, export_dir / "compose.yaml": _COMPOSE}
    for path, text in files.items():
        if not path.exists():
            write_text(path, text)


_BATCHING = """\
# Use this only if all clients send `images` of one size:
#   --enable_batching=true --batching_parameters_file=/models/batching.config
# Pictures of different sizes would have to be padded to share a batch, which changes the statistics
# of instance normalisation, and one bad file would fail the whole batch. So batching is off by
# default, and padding stays off.
max_batch_size { value: 8 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 64 }
pad_variable_length_inputs: false
"""

_COMPOSE = """\
# docker compose up, in this folder. gRPC on 8500, REST on 8501.
services:
  serving:
    image: tensorflow/serving:${TF_SERVING_TAG:-latest}
    command: ["--model_config_file=/models/models.config"]
    ports: ["8500:8500", "8501:8501"]
    volumes: ["./serving:/models:ro"]
    restart: unless-stopped
"""
