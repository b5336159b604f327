"""Picture files that SavedModels decode: limits, lies in headers, damage, other formats."""

import json
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from serving import (
    KINDS,
    LIMIT,
    decoded,
    draw,
    encode,
    from_json,
    refused,
    same,
    with_size,
)

from tfcyclegan.export.decoding import decode

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
def test_colours_become_grey_as_in_pillow(kind):
    """For models of grey pictures; rounding may differ by a level."""
    in_graph = tf.function(lambda file: decode(file, 1, lambda side: side, LIMIT))
    data = encode(draw(37, 50), kind)
    pixels = in_graph(tf.constant(data)).numpy()
    assert pixels.shape == (37, 50, 1)
    assert abs(pixels.astype(int) - decoded(data, 1)).max() <= 1
