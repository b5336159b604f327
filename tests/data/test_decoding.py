"""From encoded pictures to 8-bit RGB. Files are not trusted."""

import io
import struct
import zlib

import numpy as np
import pytest
from datasets import encoded
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.data.decoding import SUFFIXES, Opened, open_picture


def decode(data, name="x"):
    return open_picture(data, name).image


def test_formats_become_the_same_rgb():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert {f".{form.lower()}" for form in ("PNG", "BMP", "WEBP", "JPEG", "GIF")} < set(SUFFIXES)
    for form in ("PNG", "BMP"):
        assert np.array_equal(decode(encoded(image, format=form)), pixels)
    lossless = encoded(image, format="WEBP", lossless=True)
    assert np.array_equal(decode(lossless), pixels)
    jpeg = encoded(image, format="JPEG", quality=95)
    assert np.array_equal(decode(jpeg), np.asarray(Image.open(io.BytesIO(jpeg))))


def test_the_first_frame_of_a_gif_is_read():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], format="GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(data))[0, 0].tolist() == [255, 0, 0]


def test_greyscale_palette_and_16_bit_pictures_become_rgb():
    ramp = np.linspace(0, 255, 16, dtype=np.uint8).reshape(4, 4)
    for image in (
        Image.fromarray(ramp),
        Image.fromarray(ramp).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE),
        Image.fromarray(ramp.astype(np.uint16) * 257),
    ):
        got = np.asarray(decode(encoded(image, format="PNG")))
        assert got.shape == (4, 4, 3)
        assert np.array_equal(got, np.repeat(ramp[..., None], 3, axis=2))


def test_16_bits_are_scaled_not_clipped():
    wide = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    got = np.asarray(decode(encoded(Image.fromarray(wide), format="PNG")))[0, :, 0]
    assert got.tolist() == [0, 1, 1, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_blended_with_white(mode):
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    got = np.asarray(decode(encoded(image.convert(mode), format="PNG")))[0]
    assert got.tolist() == [[0, 0, 0], [255, 255, 255], [127, 127, 127]]


def test_a_transparent_palette_colour_becomes_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    got = np.asarray(decode(encoded(image, format="PNG", transparency=0)))[0]
    assert got.tolist() == [[255, 255, 255], [200, 100, 0]]


def test_cmyk_becomes_rgb():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    got = np.asarray(decode(encoded(image, format="JPEG", quality=100)))[0, 0]
    assert got[0] > 240
    assert got[1:].max() < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    """All eight orientations of a camera give the same upright picture."""
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
    got = decode(encoded(stored, format="PNG", exif=exif))
    assert np.array_equal(got, upright)


def test_a_picture_bomb_is_refused():
    """A small file that claims to be a picture of 50,000 × 50,000 px."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))
    with pytest.raises(
        InputError, match=r"bomb.png: .*Image size \(2500000000 pixels\) exceeds limit"
    ):
        decode(data, "bomb.png")


def test_scripts_are_not_opened():
    """Pillow would run an interpreter for some formats, such as EPS."""
    with pytest.raises(InputError, match="not a JPEG, PNG, BMP, GIF or WebP"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "x.png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_metadata_is_kept_without_the_orientation():
    """Damaged EXIF is ignored, because the pixels are intact."""
    image = Image.new("RGBA", (3, 2), (0, 0, 0, 100))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    opened = open_picture(encoded(image, format="PNG", exif=exif, icc_profile=b"profile"), "x")
    assert isinstance(opened, Opened)
    assert (opened.format, opened.image.size) == ("PNG", (2, 3))
    assert opened.alpha.getextrema() == (100, 100)
    assert opened.keep["icc_profile"] == b"profile"
    kept = Image.Exif()
    kept.load(opened.keep["exif"])
    assert dict(kept) == {0x010F: "maker"}
    damaged = encoded(image, format="PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert open_picture(damaged, "x").image.size == (3, 2)
