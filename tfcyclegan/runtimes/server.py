"""A generator behind TF Serving, over REST or gRPC."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import numpy as np
import requests
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from urllib3.util import Retry

from ..errors import InputError, first_line
from .png import assertion_message, from_png, to_png
from .protocol import BadPicture, Runtime


class RestRuntime(Runtime):
    """TF Serving's REST interface, `http://HOST:PORT/v1/models/NAME`.

    Requests to a server that is unreachable or overloaded are repeated with growing pauses for
    about half a minute. A request that times out is not repeated.
    """

    concurrent = 4

    def __init__(self, url: str, timeout: float):
        url = url.removesuffix("/").removesuffix(":predict")
        if not re.match(r"https?://[^/]+/v1/models/[^/:]+(/(versions|labels)/[^/:]+)?$", url):
            raise InputError(
                f"model={url}: not the address of a model: give "
                "http://HOST:8501/v1/models/NAME, optionally followed by /versions/N"
            )
        self.name = url
        self._timeout = timeout
        self._session = requests.Session()
        retry = Retry(
            total=6, read=0, backoff_factor=0.5, status_forcelist=(429, 502, 503, 504),
            allowed_methods=None, raise_on_status=False, respect_retry_after_header=False,
        )  # fmt: skip
        adapter = requests.adapters.HTTPAdapter(max_retries=retry, pool_maxsize=self.concurrent)
        self._session.mount(url, adapter)
        self.channels = _channels(self._ask("get", f"{url}/metadata").json, url)

    def _ask(self, method: str, url: str, **body: Any) -> Any:
        """Returns the reply of a request that succeeds."""
        try:
            answer = self._session.request(method, url, timeout=self._timeout, **body)
        except requests.RequestException as problem:
            raise InputError(
                f"{url} does not answer ({_cause(problem)}): check that the server runs and is "
                "reachable from here"
            ) from problem
        if answer.status_code == 400 and body:
            raise BadPicture(f"{self.name} refuses it: {assertion_message(_said(answer))}")
        if answer.status_code != 200:
            raise InputError(f"{self.name} answers {answer.status_code}: {_said(answer)}")
        return answer

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        text = base64.b64encode(to_png(pixels)).decode()
        body = {"signature_name": "serving_bytes", "instances": [{"b64": text}]}
        answer = self._ask("post", f"{self.name}:predict", json=body)

        def png() -> bytes:
            return base64.b64decode(answer.json()["predictions"][0]["b64"])

        return from_png(png, pixels, self.name)


class GrpcRuntime(Runtime):
    """TF Serving's gRPC interface, `grpc://HOST:PORT/NAME` (or `/NAME/VERSION`)."""

    concurrent = 4

    def __init__(self, url: str, timeout: float):
        parts = re.fullmatch(r"grpc://([^/]+)/([^/]+)(?:/([0-9]{1,18}))?/?", url)
        if not parts:
            raise InputError(f"model={url}: not the address of a model: give grpc://HOST:8500/NAME")
        self.name = url
        self._timeout = timeout
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
                # Pictures can exceed gRPC's default of 4 MB.
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        answer = self._call(self._service.GetModelMetadata, request)
        as_json = partial(MessageToDict, answer, preserving_proto_field_name=True)
        self.channels = _channels(as_json, url)

    def _call(self, method: Callable, request: Any) -> Any:
        request.model_spec.name = self._model
        if self._version:
            request.model_spec.version.value = int(self._version)
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as problem:
            said = problem.details() or "no reason given"
            if problem.code() == grpc.StatusCode.INVALID_ARGUMENT:
                raise BadPicture(f"{self.name} refuses it: {assertion_message(said)}") from problem
            raise InputError(
                f"{self.name} does not answer as it should ({problem.code().name}: "
                f"{first_line(said)}): check that the server runs and has the model {self._model}"
            ) from problem

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = "serving_bytes"
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([to_png(pixels)]))
        answer = self._call(self._service.Predict, request)
        outputs = answer.outputs
        return from_png(lambda: tf.make_ndarray(outputs["image_bytes"])[0], pixels, self.name)


def _channels(metadata: Callable[[], Any], where: str) -> int:
    """The input channels of a served model, from its metadata as JSON."""
    try:
        signatures = metadata()["metadata"]["signature_def"]["signature_def"]
        dims = signatures["serving_default"]["inputs"]["images"]["tensor_shape"]["dim"]
        channels = int(dims[-1]["size"])
        if "image_bytes" not in signatures["serving_bytes"]["inputs"] or channels not in (1, 3):
            raise KeyError("image_bytes")
    except Exception as problem:  # a server may answer anything
        raise InputError(
            f"{where}: that model has no signature serving_default from images and serving_bytes "
            "from image_bytes: serve one that this package exported"
        ) from problem
    return channels


def _said(answer: Any) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return first_line(answer.text)


def _cause(problem: BaseException) -> str:
    """Returns the innermost reason of a failed connection. The outer ones repeat addresses."""
    inner: Any = problem
    while isinstance(inner, BaseException):
        problem, inner = inner, getattr(inner, "reason", None) or next(iter(inner.args), None)
    return first_line(problem).split(": ", 1)[-1]
