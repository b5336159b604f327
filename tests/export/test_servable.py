"""The graphs of SavedModels: what they answer, and which picture files they refuse."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
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
    refused,
    same,
    version_folder,
    with_size,
)
from tensorflow_serving.apis import get_model_metadata_pb2

from tfcyclegan.export import servable
from tfcyclegan.runtimes.saved_model import SIGNATURES


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


@pytest.fixture(scope="module")
def loaded(exports):
    """The signatures of all models, by TensorFlow's own loader."""
    return {
        model: tf.saved_model.load(str(version_folder(exports, model))).signatures
        for model in MODELS
    }


@pytest.mark.parametrize("model", MODELS)
def test_tensors_of_any_number_and_size(loaded, server, networks, model):
    """By both loaders: this process loads eagerly, the server (without this package) a session."""
    for images in images_for(networks[model]):
        wanted = np.asarray(networks[model](images))
        assert wanted.std() > 0.05, "a flat picture proves nothing"
        found = loaded[model]["serving_default"](images=tf.constant(images))["images"]
        served = server.send_images_by_grpc(images, model).outputs["images"]
        for given in (found, tf.make_ndarray(served)):
            np.testing.assert_allclose(given, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model", MODELS)
def test_files_of_both_formats_and_odd_sizes(loaded, server, networks, files, expected, model):
    channels = networks[model].input_shape[-1]
    for name, data in files[channels].items():
        wanted = expected(decoded(data, channels), model)
        found = loaded[model]["serving_bytes"](image_bytes=tf.constant([data]))["image_bytes"]
        assert same(decoded_png(found.numpy()[0]), wanted), name
        assert same(from_json(server.send_file(data, model=model)), wanted), name


def test_directions_are_not_mixed_up(expected, picture):
    """The other tests could not tell if both generators gave the same picture."""
    there, back = (expected(picture, model).astype(int) for model in ("tiny_AtoB", "tiny_BtoA"))
    assert abs(there - back).mean() > 10
    assert abs(there - picture).mean() > 10


def test_pictures_are_padded_as_runtimes_pad_them():
    mirrored = tf.function(
        servable._mirrored,
        input_signature=[tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int32)],
    )
    for size in range(1, 14):
        for padded in range(size, 70):
            index = mirrored(tf.constant(size), tf.constant(padded)).numpy()
            wanted = np.pad(np.arange(size), (0, padded - size), mode="reflect")
            np.testing.assert_array_equal(index, wanted, err_msg=f"{size} to {padded}")


def test_a_servable_has_the_two_signatures(networks):
    found = servable.Servable(networks["tiny_AtoB"], max_pixels=100)
    assert found.functions.keys() == SIGNATURES.keys()


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


# Files that are not trusted: limits, lies in headers, damage, other formats

NO_PICTURES = {
    "empty": b"",
    "text": b"a horse in a meadow",
    "bytes": bytes(range(256)),
    "WebP": b"RIFF\x1a\0\0\0WEBPVP8L",
    "GIF": encode(draw(37, 50), "GIF"),
    "BMP": encode(draw(37, 50), "BMP"),
    "one byte of PNG": b"\x89",
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_other_files_are_refused(server, name):
    said = refused(server, NO_PICTURES[name])
    assert "not a picture: image_bytes takes JPEG and PNG files" in said


def test_plain_text_in_json_is_refused(server):
    answer = server.post({"signature_name": "serving_bytes", "instances": ["abc"]})
    assert answer.status_code == 400
    assert "not a picture" in answer.json()["error"]


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_files_are_refused(server, picture, kind):
    """With status 400 and a readable message, wherever they are cut."""
    data = encode(picture, kind)
    whole = len(data)
    # Every length within the header and at the end, and forty between.
    cuts = {*range(3, 64), *np.linspace(64, whole - 1, 40).astype(int), *range(whole - 8, whole)}
    wrong = {}
    for length in sorted(cuts):
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
    for length in sorted(cuts)[::10]:
        problem = server.send_file_by_grpc(data[:length])
        assert isinstance(problem, grpc.RpcError)
        assert problem.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_truncated_header_is_named(server, picture):
    for length in (8, 16, 23):
        said = refused(server, encode(picture, "PNG")[:length])
        assert "the picture is damaged or truncated" in said


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_give_a_picture_or_a_refusal(server, picture, kind):
    """With random bytes overwritten; the server answers 200 or 400 and keeps running."""
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
    # The JPEG library accepts sides up to 65500.
    "JPEG": [("JPEG", 65500, 65500), ("JPEG", 65500, 1), ("JPEG", 1, 65500)],
    "no pixels": [("PNG", 0, 9), ("PNG", 9, 0)],
}


@pytest.mark.parametrize("name", LIES)
def test_files_that_claim_to_be_huge_are_refused_before_memory_is_taken(server, picture, name):
    with server.bounded_memory():
        for kind, *claim in LIES[name]:
            start = time.monotonic()
            said = refused(server, with_size(encode(picture, kind), kind, *claim))
            assert time.monotonic() - start < 2
            assert "the picture has more than 20000 pixels, or none" in said, claim


def test_jpegs_of_impossible_sizes(server, picture):
    with server.bounded_memory():
        for claim in ((65535, 65535), (65535, 1), (0, 9), (9, 0)):
            refused(server, with_size(encode(picture, "JPEG"), "JPEG", *claim))


@pytest.mark.parametrize("kind", KINDS)
def test_colours_become_grey_as_in_pillow(networks, kind):
    """For models of grey pictures; rounding may differ by a level."""
    in_graph = tf.function(servable.Servable(networks["small_BtoA"], LIMIT)._decode)
    data = encode(draw(37, 50), kind)
    pixels = in_graph(tf.constant(data)).numpy()
    assert pixels.shape == (37, 50, 1)
    assert abs(pixels.astype(int) - decoded(data, 1)).max() <= 1
