"""A model server for tests: TF Serving's REST and gRPC interfaces in front of exported models.

    python tests/model_server.py SERVING_DIR ... [--rest-port 0] [--grpc-port 0]

It reads models.config in each folder and loads each model as the real server does: with
TensorFlow's session loader, into its own graph. It runs the warm-up requests, prints its ports and
the number of those requests as a line of JSON, and serves until it is killed. It cannot import the
package that wrote the models.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Blocked:
    """Blocks imports of the package, which a server does not have."""

    def find_spec(self, name: str, *_: Any) -> None:
        if name.split(".")[0] == "tfcyclegan":
            raise ImportError("a model server must not need tfcyclegan")


sys.meta_path.insert(0, _Blocked())

import grpc  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from google.protobuf import json_format, text_format  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    get_model_metadata_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2  # noqa: E402

INVALID, MISSING = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
CODES = {code.value[0]: code for code in grpc.StatusCode}
HTTP = {INVALID: 400, MISSING: 404, grpc.StatusCode.UNAVAILABLE: 503}


class Refusal(Exception):
    """An error for the client: a gRPC status and a message."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class Model:
    """The newest version of a model, in its own session."""

    def __init__(self, name: str, directory: Path):
        numbers = [int(path.name) for path in directory.iterdir() if path.name.isdecimal()]
        self.name, self.version = name, max(numbers)
        path = directory / str(self.version)
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(self._session, ["serve"], str(path))
        self.signatures = loaded.signature_def
        self.warm_ups = 0
        warm_up = path / "assets.extra" / "tf_serving_warmup_requests"
        if warm_up.exists():
            for record in tf.data.TFRecordDataset(str(warm_up)).as_numpy_iterator():
                request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
                if request.model_spec.name != name:
                    raise ValueError(f"warm-up for {request.model_spec.name}, not for {name}")
                self.predict(
                    request.model_spec.signature_name,
                    {key: tf.make_ndarray(value) for key, value in request.inputs.items()},
                )
                self.warm_ups += 1

    def signature(self, name: str) -> Any:
        name = name or "serving_default"
        if name not in self.signatures:
            raise Refusal(INVALID, f'Serving signature name: "{name}" not found in signature def')
        return self.signatures[name]

    def predict(self, signature_name: str, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        signature = self.signature(signature_name)
        if set(values) != set(signature.inputs):
            raise Refusal(
                INVALID,
                f"input keys are {sorted(values)}, the signature's {sorted(signature.inputs)}",
            )
        feeds = {signature.inputs[key].name: value for key, value in values.items()}
        fetches = {key: info.name for key, info in signature.outputs.items()}
        try:
            return self._session.run(fetches, feeds)
        except tf.errors.OpError as problem:
            # The session adds a Python traceback to what the runtime, and so the server, says.
            plain = problem.__context__
            plain = plain if isinstance(plain, tf.errors.OpError) else problem
            raise Refusal(CODES[plain.error_code], plain.message) from problem
        except UnicodeDecodeError as problem:  # an error with bytes in it goes out as it is
            raise Refusal(INVALID, problem.object.decode(errors="surrogateescape")) from problem
        except (ValueError, TypeError) as problem:  # the session's own check of the shapes
            raise Refusal(INVALID, str(problem)) from problem


class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The models by name, and the gRPC interface to them."""

    def __init__(self, directories: list[Path]):
        self.models = {}
        for directory in directories:
            config = model_server_config_pb2.ModelServerConfig()
            text_format.Parse((directory / "models.config").read_text(), config)
            for entry in config.model_config_list.config:
                # The folder is mounted there in the real server's container.
                place = directory / Path(entry.base_path).relative_to("/models")
                self.models[entry.name] = Model(entry.name, place)

    def find(self, name: str, version: int | None = None) -> Model:
        model = self.models.get(name)
        if model is None or version not in (None, model.version):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise Refusal(MISSING, f"Servable not found for request: {wanted}")
        return model

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _refusals(context):
            model = self._specified(request.model_spec)
            values = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
            outputs = model.predict(request.model_spec.signature_name, values)
            answer = predict_pb2.PredictResponse(model_spec=request.model_spec)
            answer.model_spec.version.value = model.version
            for key, value in outputs.items():
                answer.outputs[key].CopyFrom(tf.make_tensor_proto(value))
            return answer

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        with _refusals(context):
            model = self._specified(request.model_spec)
            if list(request.metadata_field) != ["signature_def"]:
                raise Refusal(INVALID, f"Metadata field {request.metadata_field} is not supported")
            answer = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
            answer.model_spec.version.value = model.version
            answer.metadata["signature_def"].Pack(_signature_map(model))
            return answer

    def _specified(self, spec: Any) -> Model:
        return self.find(spec.name, spec.version.value if spec.HasField("version") else None)


@contextmanager
def _refusals(context: grpc.ServicerContext) -> Iterator[None]:
    """Turns a `Refusal` into the status of the gRPC call."""
    try:
        yield
    except Refusal as refusal:
        message = refusal.message.encode(errors="surrogateescape")
        context.abort(refusal.code, message.decode(errors="replace"))


def _signature_map(model: Model) -> Any:
    return get_model_metadata_pb2.SignatureDefMap(signature_def=model.signatures)


class RestHandler(BaseHTTPRequestHandler):
    """The REST interface, https://www.tensorflow.org/tfx/serving/api_rest."""

    models: Server  # set in a subclass
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are written apart
    _path = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata|:predict)?")

    def do_GET(self) -> None:
        self._reply({"": self._status, "/metadata": self._metadata})

    def do_POST(self) -> None:
        self._reply({":predict": self._predict})

    def _reply(self, handlers: dict) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            found = self._path.fullmatch(self.path)
            if not found or (found[3] or "") not in handlers:
                raise Refusal(INVALID, f"Malformed request: {self.command} {self.path}")
            model = self.models.find(found[1], int(found[2]) if found[2] else None)
            code, answer = 200, handlers[found[3] or ""](model, body)
        except Refusal as refusal:
            code, answer = HTTP.get(refusal.code, 500), {"error": refusal.message}
        except Exception as problem:
            code, answer = 500, {"error": f"{type(problem).__name__}: {problem}"}
        content = json.dumps(answer, ensure_ascii=False).encode(errors="surrogateescape")
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _status(self, model: Model, body: bytes) -> dict:
        status = {"error_code": "OK", "error_message": ""}
        version = {"version": str(model.version), "state": "AVAILABLE", "status": status}
        return {"model_version_status": [version]}

    def _metadata(self, model: Model, body: bytes) -> dict:
        signatures = json_format.MessageToDict(
            _signature_map(model),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        spec = {"name": model.name, "signature_name": "", "version": str(model.version)}
        return {"model_spec": spec, "metadata": {"signature_def": signatures}}

    def _predict(self, model: Model, body: bytes) -> dict:
        try:
            request = json.loads(body)
        except ValueError as problem:
            raise Refusal(INVALID, f"JSON Parse error: {problem}") from problem
        if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
            raise Refusal(INVALID, "JSON Value: give an object with 'instances' or 'inputs'")
        name = request.get("signature_name", "")
        inputs = model.signature(name).inputs
        by_rows = "instances" in request
        columns = _columns(request["instances"]) if by_rows else request["inputs"]
        if not isinstance(columns, dict) or _is_binary(columns):
            if len(inputs) != 1:
                raise Refusal(INVALID, f"name the inputs: {sorted(inputs)}")
            columns = {next(iter(inputs)): columns}
        values = {key: _array(v, inputs[key].dtype) for key, v in columns.items() if key in inputs}
        outputs = model.predict(name, {**columns, **values})
        if not by_rows:
            plain = {key: _plain(key, value) for key, value in outputs.items()}
            return {"outputs": plain if len(plain) > 1 else next(iter(plain.values()))}
        lists = {key: [_plain(key, row) for row in value] for key, value in outputs.items()}
        if len(lists) == 1:
            return {"predictions": next(iter(lists.values()))}
        rows = zip(*lists.values(), strict=True)
        return {"predictions": [dict(zip(lists, row, strict=True)) for row in rows]}

    def log_message(self, *arguments: Any) -> None:
        pass


def _is_binary(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["b64"]


def _columns(instances: Any) -> Any:
    """Turns rows of `{input: value}` into `{input: values}`; keeps rows of bare values."""
    if not isinstance(instances, list) or not instances:
        raise Refusal(INVALID, "JSON Value: 'instances' must be a list that is not empty")
    named = [isinstance(row, dict) and not _is_binary(row) for row in instances]
    if not any(named):
        return instances
    if not all(named) or any(set(row) != set(instances[0]) for row in instances):
        raise Refusal(INVALID, "JSON Value: all instances must have the same keys")
    return {key: [row[key] for row in instances] for key in instances[0]}


def _array(value: Any, dtype: int) -> np.ndarray:
    """Converts JSON to an array of the signature's type."""
    strings = tf.dtypes.as_dtype(dtype) == tf.string

    def change(part: Any) -> Any:
        if isinstance(part, list):
            return [change(inner) for inner in part]
        if strings and _is_binary(part):
            return base64.b64decode(part["b64"], validate=True)
        if strings != isinstance(part, str) or part is None or isinstance(part, dict):
            raise ValueError(f"{str(part)[:40]!r} is not of the signature's type")
        return part.encode() if strings else part

    try:
        return np.array(
            change(value), object if strings else tf.dtypes.as_dtype(dtype).as_numpy_dtype
        )
    except (ValueError, TypeError) as problem:
        raise Refusal(INVALID, f"JSON Value: {problem}") from problem


def _plain(key: str, value: Any) -> Any:
    """Converts an array or an element to JSON; names ending in `_bytes` mean base64."""
    if isinstance(value, np.ndarray) and (value.ndim or value.dtype != object):
        return [_plain(key, part) for part in value] if value.dtype == object else value.tolist()
    if isinstance(value, bytes):
        encoded = {"b64": base64.b64encode(value).decode()}
        return encoded if key.endswith("_bytes") else value.decode()
    return value.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directories", type=Path, nargs="+")
    parser.add_argument("--rest-port", type=int, default=0)
    parser.add_argument("--grpc-port", type=int, default=0)
    arguments = parser.parse_args()
    models = Server(arguments.directories)
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    grpc_server = grpc.server(ThreadPoolExecutor(16), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(models, grpc_server)
    grpc_port = grpc_server.add_insecure_port(f"127.0.0.1:{arguments.grpc_port}")
    grpc_server.start()
    handler = type("Handler", (RestHandler,), {"models": models})
    rest_server = ThreadingHTTPServer(("127.0.0.1", arguments.rest_port), handler)
    threading.Thread(target=rest_server.serve_forever, daemon=True).start()
    warm_ups = {model.name: model.warm_ups for model in models.models.values()}
    ready = {"rest": rest_server.server_port, "grpc": grpc_port, "warm_ups": warm_ups}
    print(json.dumps(ready), flush=True)
    grpc_server.wait_for_termination()


if __name__ == "__main__":
    main()
