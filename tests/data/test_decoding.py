"""From encoded pictures to 8-bit RGB; files are not trusted."""

import io
import struct
import zlib

import numpy as np
import pytest
from datasets import encoded
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.data.decoding import decode


def test_formats_become_the_same_rgb():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    for form in ("PNG", "BMP"):
        assert np.array_equal(decode(encoded(image, format=form), "x"), pixels)
    lossless = encoded(image, format="WEBP", lossless=True)
    assert np.array_equal(decode(lossless, "x"), pixels)
    jpeg = encoded(image, format="JPEG", quality=95)
    assert np.array_equal(decode(jpeg, "x"), np.asarray(Image.open(io.BytesIO(jpeg))))


def test_first_frame_of_a_gif():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], format="GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(data, "x"))[0, 0].tolist() == [255, 0, 0]


def test_greyscale_palette_and_sixteen_bits():
    ramp = np.linspace(0, 255, 16, dtype=np.uint8).reshape(4, 4)
    for image in (
        Image.fromarray(ramp),
        Image.fromarray(ramp).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE),
        Image.fromarray(ramp.astype(np.uint16) * 257),
    ):
        got = np.asarray(decode(encoded(image, format="PNG"), "x"))
        assert got.shape == (4, 4, 3)
        assert np.array_equal(got, np.repeat(ramp[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_not_clipped():
    wide = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    got = np.asarray(decode(encoded(Image.fromarray(wide), format="PNG"), "x"))[0, :, 0]
    assert got.tolist() == [0, 1, 1, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode):
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    got = np.asarray(decode(encoded(image.convert(mode), format="PNG"), "x"))[0]
    assert got.tolist() == [[0, 0, 0], [255, 255, 255], [127, 127, 127]]


def test_transparent_colour_of_a_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    got = np.asarray(decode(encoded(image, format="PNG", transparency=0), "x"))[0]
    assert got.tolist() == [[255, 255, 255], [200, 100, 0]]


def test_cmyk():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    got = np.asarray(decode(encoded(image, format="JPEG", quality=100), "x"))[0, 0]
    assert got[0] > 240
    assert got[1:].max() < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    """Eight ways to hold a camera, one upright picture."""
    upright = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40).convert("RGB")
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = decode(encoded(stored, format="PNG", exif=exif), "x")
    assert np.array_equal(got, upright)


def test_picture_bomb():
    """A few bytes that claim a picture of 50,000 × 50,000 px."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))
    with pytest.raises(
        InputError, match=r"bomb.png: .*Image size \(2500000000 pixels\) exceeds limit"
    ):
        decode(data, "bomb.png")


def test_a_script_is_no_picture():
    """Formats that run code or call programs (EPS and the like) are not opened."""
    with pytest.raises(InputError, match="not a JPEG, PNG, BMP, GIF or WebP"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "x.png")
