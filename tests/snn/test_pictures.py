"""Any picture, read as the classifier wants it: forms left untouched, drawings, garments, photos, and no picture."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from brainnet.errors import ModelError
from brainnet.snn.models.pictures import read_picture


def encoded(picture: Image.Image | NDArray[np.uint8], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, kind)
    return buffer.getvalue()


def drawn(digit: str, size: int = 200, ground: int = 255, ink: int = 0) -> Image.Image:
    picture = Image.new("L", (size, size), ground)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size * 0.6)
    draw.text((size / 2, size / 2), digit, fill=ink, font=font, anchor="mm", stroke_width=size // 60, stroke_fill=ink)
    return picture


def landscape(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours all over, as in a photo."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3)).astype(np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@given(
    picture=st.binary(min_size=400, max_size=400).map(lambda b: np.frombuffer(b, np.uint8).reshape(20, 20)),
    kind=st.sampled_from(["PNG", "BMP", "TIFF", "PPM"]),
)
@settings(max_examples=25, deadline=None)
def test_a_small_grey_picture_on_black_is_framed_untouched(picture: NDArray[np.uint8], kind: str) -> None:
    whole = np.pad(picture, 4)
    result = read_picture(encoded(whole, kind))
    assert np.array_equal(result, np.broadcast_to(np.pad(whole, 2) / np.float32(255), (3, 32, 32)))


@given(seed=st.integers(0, 10_000), kind=st.sampled_from(["PNG", "BMP", "PPM"]))
@settings(max_examples=25, deadline=None)
def test_a_small_colour_picture_is_left_as_it_is(seed: int, kind: str) -> None:
    pixels = landscape(32, 32, seed)
    assert np.array_equal(read_picture(encoded(pixels, kind)), pixels.transpose(2, 0, 1) / np.float32(255))


@given(
    size=st.integers(30, 400),
    digit=st.sampled_from("0123456789"),
    shades=st.sampled_from([(255, 0), (0, 255), (200, 30), (60, 240)]),
    mode=st.sampled_from(["L", "RGB", "RGBA", "P", "1", "CMYK", "LA", "I;16"]),
)
@settings(max_examples=60, deadline=None)
def test_any_size_mode_and_contrast_gives_a_centred_drawing(
    size: int, digit: str, shades: tuple[int, int], mode: str
) -> None:
    picture = drawn(digit, size, *shades)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 200)
    elif mode == "1":
        picture = picture.point(lambda level: 255 * (level > 127)).convert("1")
    else:
        picture = picture.convert(mode)
    result = read_picture(encoded(picture, "TIFF"))
    assert result.shape == (3, 32, 32)
    assert result.dtype == np.float32
    assert np.array_equal(result[0], result[1])
    assert result.min() == 0
    assert 0.9 < result.max() <= 1
    rows, columns = (np.flatnonzero(result[0].any(axis)) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) <= 20
    middle = [np.arange(32) @ result[0].sum(axis) / result[0].sum() for axis in (1, 0)]
    assert middle == pytest.approx([16, 16], abs=1)


@pytest.mark.parametrize("colours", [("white", "navy"), ("#203040", "orange"), ("lightyellow", "darkred")])
def test_coloured_ink_is_a_drawing(colours: tuple[str, str]) -> None:
    ground, ink = colours
    picture = Image.composite(Image.new("RGB", (200, 200), ground), Image.new("RGB", (200, 200), ink), drawn("5"))
    assert np.abs(read_picture(encoded(picture)) - read_picture(encoded(drawn("5")))).max() < 0.2


def test_transparent_ground_is_not_ink() -> None:
    opaque = drawn("4").convert("RGBA")
    opaque.putalpha(Image.eval(drawn("4"), lambda level: 255 - level))
    for ink in ((0, 0, 0), (255, 255, 255)):
        coloured = Image.merge("RGBA", (*(Image.new("L", opaque.size, level) for level in ink), opaque.getchannel("A")))
        assert np.abs(read_picture(encoded(coloured)) - read_picture(encoded(drawn("4")))).max() < 0.1


@given(width=st.integers(33, 300), height=st.integers(33, 300), seed=st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_a_photo_keeps_the_colours_of_its_central_square(width: int, height: int, seed: int) -> None:
    pixels = landscape(width, height, seed)
    result = read_picture(encoded(pixels))
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side].astype(np.float32) / 255
    assert result.shape == (3, 32, 32)
    assert result.mean((1, 2)) == pytest.approx(square.mean((0, 1)), abs=0.02)


@pytest.mark.parametrize("ground", [0, 255, 240])
def test_a_grey_thing_on_even_ground_fills_the_small_form(ground: int) -> None:
    thing = np.asarray(Image.fromarray(landscape(120, 90)).convert("L")) // 4 + 60
    page = np.full((300, 400), ground, np.uint8)
    page[50:140, 200:320] = thing
    result = read_picture(encoded(page))[0]
    rows, columns = (np.flatnonzero(result.any(axis)) for axis in (1, 0))
    assert (columns[0], columns[-1]) == (2, 29)
    assert np.ptp(rows) + 1 == 21
    assert result[:, 16][rows].min() > 0.15


SHOWN_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture is stored that is shown upright with an EXIF orientation: by the transposition that it undoes."""


@pytest.mark.parametrize("orientation", SHOWN_BY)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("coloured", [False, True])
def test_a_picture_is_read_as_it_is_shown(orientation: int, kind: str, coloured: bool) -> None:
    upright = Image.fromarray(landscape(120, 80)) if coloured else drawn("7").convert("RGB")
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    upright.transpose(SHOWN_BY[orientation]).save(buffer, kind, exif=exif)
    assert np.abs(read_picture(buffer.getvalue()) - read_picture(encoded(upright))).max() < 0.1


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*" + b"\xff" * 20, b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01"]
)
def test_broken_exif_data_say_nothing(exif: bytes) -> None:
    buffer = io.BytesIO()
    drawn("7").save(buffer, "JPEG", exif=exif)
    assert np.abs(read_picture(buffer.getvalue()) - read_picture(encoded(drawn("7")))).max() < 0.1


def test_any_depth_and_palette_reads_the_same() -> None:
    grey = drawn("7")
    levels = np.asarray(grey)
    palette = io.BytesIO()
    grey.convert("P").save(palette, "PNG", transparency=255)
    frames = io.BytesIO()
    grey.save(frames, "GIF", save_all=True, append_images=[drawn("1"), drawn("2")])
    pictures = {
        "16 bits": encoded(Image.fromarray(levels.astype(np.uint16) * 200)),
        "16 bits, big-endian": encoded(Image.fromarray(levels.astype(">u2") * 200), "TIFF"),
        "32 bits": encoded(Image.fromarray(levels.astype(np.int32) * 70_000), "TIFF"),
        "floats below zero": encoded(Image.fromarray(levels.astype(np.float32) - 300), "TIFF"),
        "CMYK": encoded(grey.convert("CMYK"), "JPEG"),
        "grey and alpha": encoded(grey.convert("LA")),
        "a palette with a transparent colour": palette.getvalue(),
        "frames": frames.getvalue(),
        "inverted": encoded(Image.eval(grey, lambda level: 255 - level)),
    }
    for name, data in pictures.items():
        assert np.abs(read_picture(data) - read_picture(encoded(grey))).max() < 0.1, name


@pytest.mark.parametrize(("size", "kind"), [(640, "JPEG"), (1000, "PNG"), (4500, "PNG")])
def test_a_large_picture_is_read_like_a_small_one(size: int, kind: str) -> None:
    # means over squares move an edge by a part of a pixel
    assert np.abs(read_picture(encoded(drawn("7", size), kind)) - read_picture(encoded(drawn("7", 450)))).max() < 0.3


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_small_drawing_in_a_large_picture_is_read_in_all_its_pixels(kind: str) -> None:
    page = Image.new("L", (1280, 960), 255)
    page.paste(drawn("4", 100), (200, 300))
    assert np.abs(read_picture(encoded(page, kind)) - read_picture(encoded(drawn("4", 100)))).max() < 0.1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_fine_line_in_a_large_picture_is_found(kind: str) -> None:
    page = Image.new("L", (2400, 2400), 255)
    ImageDraw.Draw(page).line((1200, 300, 1200, 2100), fill=225, width=2)
    assert read_picture(encoded(page, kind)).max() > 0.9


@given(width=st.integers(480, 900), height=st.integers(480, 900), seed=st.integers(0, 100))
@settings(max_examples=5, deadline=None)
def test_a_large_photo_is_read_like_a_small_one(width: int, height: int, seed: int) -> None:
    large = Image.fromarray(landscape(width, height, seed))
    small = large.resize((width * 200 // min(width, height), height * 200 // min(width, height)), Image.Resampling.BOX)
    for kind in ("JPEG", "PNG"):
        assert np.abs(read_picture(encoded(large, kind)) - read_picture(encoded(small))).max() < 0.1


@pytest.mark.parametrize("size", [(1, 30_000), (30_000, 1), (2, 9000)])
def test_a_long_picture_is_read(size: tuple[int, int]) -> None:
    assert read_picture(encoded(landscape(*size))).shape == (3, 32, 32)


@pytest.mark.parametrize(
    "transfer",
    [
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: data.decode("latin-1").encode(),
        lambda data: data.decode(errors="replace").encode(),
    ],
)
def test_a_png_that_was_transferred_as_text_is_recognised(transfer: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ModelError, match="line ends"):
        read_picture(transfer(encoded(drawn("1"))))


@pytest.mark.parametrize("data", [b"", b"hello, this is no picture", encoded(drawn("1"))[:200]])
def test_data_that_is_no_picture_is_described(data: bytes) -> None:
    with pytest.raises(ModelError, match=rf"{len(data)} bytes.*PNG"):
        read_picture(data)


def test_a_bomb_and_a_blank_are_refused() -> None:
    with pytest.raises(ModelError, match="pixels"):
        read_picture(encoded(Image.new("1", (12_000, 12_000))))
    with pytest.raises(ModelError, match="nothing is drawn"):
        read_picture(encoded(Image.new("L", (50, 50), 90)))


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 2**32 - 1), sparse=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_pixels_that_differ_give_a_picture(height: int, width: int, seed: int, sparse: bool) -> None:
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 256, (height, width, 3))
    if sparse:
        values *= generator.random((height, width, 1)) < 0.05
    values[0, 0], values[-1, -1] = 0, 255
    assume(height * width > 1)
    result = read_picture(encoded(values.astype(np.uint8)))
    assert result.shape == (3, 32, 32)
    assert result.min() >= 0
    assert result.max() <= 1


@given(
    data=st.binary(max_size=300), head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"P5 ", b"II*\0"])
)
@settings(max_examples=150, deadline=None)
def test_random_bytes_never_do_anything_but_a_clear_error(data: bytes, head: bytes) -> None:
    try:
        result = read_picture(head + data)
    except ModelError:
        return
    assert result.shape == (3, 32, 32)
