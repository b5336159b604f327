"""Clients of TF Serving, with a server in its own process and with servers that fail."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from serving import KINDS, MODELS, SIZES, TIMEOUT, b64, draw, encode, same
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tfcyclegan.errors import InputError
from tfcyclegan.runtimes.protocol import BadPicture
from tfcyclegan.runtimes.server import GrpcRuntime, RestRuntime


def runtime_for(server, kind, model):
    if kind == "rest":
        return RestRuntime(f"{server.rest}/{model}", TIMEOUT)
    return GrpcRuntime(f"{server.grpc}/{model}", TIMEOUT)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_clients_give_what_keras_gives(server, networks, expected, kind, model):
    runtime = runtime_for(server, kind, model)
    assert runtime.channels == networks[model].input_shape[-1]
    for height, width in (*SIZES, (100, 200)):
        pixels = draw(height, width, runtime.channels)
        assert same(runtime(pixels), expected(pixels, model)), f"{height}×{width}"


def test_clients_send_and_receive_more_than_four_megabytes(server, expected):
    """More than the default limit of gRPC's messages."""
    pixels = np.random.default_rng(0).integers(0, 256, (1280, 1280, 3), np.uint8)
    wanted = expected(pixels, "small_AtoB")
    assert min(len(encode(image, "PNG")) for image in (pixels, wanted)) > 4 * 2**20
    assert same(runtime_for(server, "grpc", "small_AtoB")(pixels), wanted)


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


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_clients_tell_a_refused_picture_from_a_failing_server(server, picture, expected, kind):
    runtime = runtime_for(server, kind, "tiny_AtoB")
    with pytest.raises(BadPicture) as caught:
        runtime(draw(101, 200))
    said = str(caught.value)
    assert said.startswith(f"{runtime.name} refuses it: the picture has more than 20000 pixels")
    assert said.endswith("[200] [101]"), "one line, without the names of graph nodes"
    assert said.count("[") == said.count("]"), said
    assert same(runtime(picture), expected(picture))


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


# Servers that are down, slow to start, or something else


@pytest.fixture
def closed_port():
    """A port that nobody listens on."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as unused:
        return unused.server_port


@pytest.fixture
def pauses(monkeypatch):
    """Records the pauses of the REST client instead of sleeping."""
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
    """Starts servers that give the answers `(code, body)` in turn, then repeat the last."""
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
    """It still works on the first request; six repeats would only add load."""
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
    """Answers UNAVAILABLE to the first request of each kind."""

    def __init__(self, drawn):
        self.asked = []
        self._drawn = drawn

    def _count(self, kind, context):
        self.asked.append(kind)
        if self.asked.count(kind) == 1:
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
        assert service.asked == ["metadata"] * 2 + ["predict"] * 2
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
def test_rest_refuses_servers_of_other_models(web_server, answer):
    url, _ = web_server(answer)
    with pytest.raises(InputError, match=f"{url}: that model has no signature serving_default"):
        RestRuntime(url, TIMEOUT)


@pytest.mark.parametrize(
    "answer",
    [b"{}", b"[]", b"no json", {"predictions": []}, {"predictions": ["text"]},
     {"predictions": [{"b64": "AAAA"}]}, {"predictions": [{"b64": "A"}]}],
)  # fmt: skip
def test_rest_refuses_answers_without_a_picture(web_server, picture, answer):
    url, _ = web_server((200, METADATA), (200, answer))
    with pytest.raises(InputError, match="something else than a picture") as caught:
        RestRuntime(url, TIMEOUT)(picture)
    assert not isinstance(caught.value, BadPicture)
