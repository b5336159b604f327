"""PNG files to and from servers, and the messages of their errors."""

import zlib

import numpy as np
import pytest
from serving import draw, encode

from tfcyclegan import InputError
from tfcyclegan.runtimes.png import assertion_message, from_png, to_png


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_survive(channels):
    pixels = draw(7, 5, channels)
    np.testing.assert_array_equal(from_png(lambda: to_png(pixels), pixels, "it"), pixels)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        to_png(draw(7, 5))[:60],
        to_png(draw(5, 7)),
        encode(draw(7, 5), "JPEG"),
        encode(np.zeros((7, 5, 4), np.uint8), "PNG"),
        encode(np.zeros((7, 5, 1), np.uint16), "PNG"),
    ],
    ids=["empty", "text", "cut", "other size", "JPEG", "alpha", "16 bits"],
)
def test_other_replies_are_refused(data):
    with pytest.raises(InputError, match="it answers something else than a picture of the size"):
        from_png(lambda: data, draw(7, 5), "it")


def test_a_reply_that_claims_to_be_huge_is_refused():
    claims = bytearray(to_png(draw(7, 5)))
    claims[16:24] = (60000).to_bytes(4, "big") * 2
    claims[29:33] = zlib.crc32(bytes(claims[12:29])).to_bytes(4, "big")
    with pytest.raises(InputError, match="it answers something else than a picture"):
        from_png(lambda: bytes(claims), draw(7, 5), "it")


def test_the_message_of_an_assertion_is_extracted():
    text = "2 root errors\n (0) assertion failed: [too large:] [200] [101]\n [[{{node Assert}}]]"
    assert assertion_message(text) == "too large: [200] [101]"
    assert assertion_message("Graph execution error:\n\nInput size should match") == (
        "Input size should match"
    )
    assert assertion_message("") == "no reason given"
