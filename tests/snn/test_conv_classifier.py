"""The spiking classifier against the same network built from snnTorch; reading pictures; the shipped weights."""

import io
from pathlib import Path

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save_file
from torch.nn import functional as F

from brainnet.errors import ModelError
from brainnet.snn.conv_classifier import (
    PIXEL_MEAN,
    PIXEL_STD,
    ClassifierConfig,
    SpikingClassifier,
    load_classifier,
    weights_metadata,
)
from brainnet.snn.digits import read_digit

WEIGHTS = Path(__file__).resolve().parents[2] / "nodes" / "weights" / "vision.safetensors"


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


@torch.no_grad()
def test_spikes_of_every_step_equal_snntorch() -> None:
    torch.manual_seed(0)
    model = SpikingClassifier(ClassifierConfig()).eval()
    for layer, decay in ((model.lif1, 1.0), (model.lif2, 2.0), (model.lif3, 3.0)):
        layer.decay.fill_(decay)
    model.head.weight *= 3
    images = torch.rand(5, 28, 28, generator=torch.Generator().manual_seed(1))
    neurons = [snntorch.Leaky(beta=torch.sigmoid(x.decay)) for x in (model.lif1, model.lif2, model.lif3)]
    first, second, third = (n.reset_mem() for n in neurons)
    expected = []
    for _ in range(model.config.steps):
        spikes, first = neurons[0](model.conv1((images[:, None] - PIXEL_MEAN) / PIXEL_STD), first)
        spikes, second = neurons[1](model.conv2(F.max_pool2d(spikes, 2)), second)
        spikes, third = neurons[2](model.head(F.max_pool2d(spikes, 2).flatten(1)), third)
        expected.append(spikes)
    result = model(images)
    assert 0.01 < result.spikes.mean() < 0.9
    assert torch.equal(result.spikes, torch.stack(expected))
    populations = torch.stack(expected).mean(0).view(5, 10, -1).mean(-1)
    torch.testing.assert_close(result.logits, model.gain * populations)


def test_a_picture_is_classified_alike_alone_and_in_a_batch() -> None:
    model = load_classifier(WEIGHTS)
    images = torch.from_numpy(np.stack([read_digit(encoded(drawn(str(d)))) for d in range(10)]))
    with torch.no_grad():
        together = model(images).logits
        alone = torch.cat([model(image[None]).logits for image in images])
    # convolutions add in another order for another batch size, so a membrane on the threshold may fall either way
    torch.testing.assert_close(alone, together, atol=0.5, rtol=0)


@given(
    picture=st.binary(min_size=400, max_size=400).map(lambda b: np.frombuffer(b, np.uint8).reshape(20, 20)),
    kind=st.sampled_from(["PNG", "BMP", "TIFF", "PPM"]),
)
@settings(max_examples=25, deadline=None)
def test_a_picture_in_mnist_form_passes_through_untouched(picture: NDArray[np.uint8], kind: str) -> None:
    whole = np.pad(picture, 4)
    assert np.array_equal(read_digit(encoded(whole, kind)), (whole / 255).astype(np.float32))


@given(
    size=st.integers(30, 400),
    digit=st.sampled_from("0123456789"),
    shades=st.sampled_from([(255, 0), (0, 255), (200, 30), (60, 240)]),
    mode=st.sampled_from(["L", "RGB", "RGBA", "P", "1", "CMYK", "LA", "I;16"]),
)
@settings(max_examples=60, deadline=None)
def test_any_size_mode_and_contrast_gives_a_centred_digit(
    size: int, digit: str, shades: tuple[int, int], mode: str
) -> None:
    picture = drawn(digit, size, *shades)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 200)
    elif mode == "1":
        picture = picture.point(lambda level: 255 * (level > 127)).convert("1")
    else:
        picture = picture.convert(mode)
    result = read_digit(encoded(picture, "TIFF"))
    assert result.shape == (28, 28)
    assert result.dtype == np.float32
    assert result.min() == 0
    assert 0.9 < result.max() <= 1
    assert 0.02 < result.mean() < 0.5
    rows, columns = (np.arange(28) * result.sum(axis) for axis in (1, 0))
    assert rows.sum() / result.sum() == pytest.approx(14, abs=1)
    assert columns.sum() / result.sum() == pytest.approx(14, abs=1)


def test_transparent_ground_is_not_ink() -> None:
    opaque = drawn("4").convert("RGBA")
    opaque.putalpha(Image.eval(drawn("4"), lambda level: 255 - level))
    for ink in ((0, 0, 0), (255, 255, 255)):
        coloured = Image.merge("RGBA", (*(Image.new("L", opaque.size, level) for level in ink), opaque.getchannel("A")))
        assert np.abs(read_digit(encoded(coloured)) - read_digit(encoded(drawn("4")))).max() < 0.1


@pytest.mark.parametrize("data", [b"", b"hello, this is no picture", encoded(drawn("1"))[:200]])
def test_data_that_is_no_picture_is_described(data: bytes) -> None:
    with pytest.raises(ModelError, match=rf"{len(data)} bytes.*PNG"):
        read_digit(data)


def test_a_bomb_and_a_blank_are_refused() -> None:
    with pytest.raises(ModelError, match="pixels"):
        read_digit(encoded(Image.new("1", (12_000, 12_000))))
    with pytest.raises(ModelError, match="nothing is drawn"):
        read_digit(encoded(Image.new("L", (50, 50), 90)))


@given(
    data=st.binary(max_size=300), head=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"P5 ", b"II*\0"])
)
@settings(max_examples=150, deadline=None)
def test_random_bytes_never_do_anything_but_a_clear_error(data: bytes, head: bytes) -> None:
    try:
        result = read_digit(head + data)
    except ModelError:
        return
    assert result.shape == (28, 28)


def test_files_that_are_no_classifier_are_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"wrong\.safetensors"):
        load_classifier(path)
    save_file({"conv1.weight": torch.zeros(1)}, path, weights_metadata(ClassifierConfig()))
    with pytest.raises(ModelError, match=r"wrong\.safetensors"):
        load_classifier(path)


@pytest.mark.parametrize(("ground", "ink"), [(255, 0), (0, 255), (180, 20)])
def test_shipped_weights_read_drawn_digits(ground: int, ink: int) -> None:
    model = load_classifier(WEIGHTS)
    pictures = [read_digit(encoded(drawn(str(digit), 160, ground, ink))) for digit in range(10)]
    with torch.no_grad():
        found = model(torch.from_numpy(np.stack(pictures))).logits.argmax(-1).tolist()
    assert sum(a == b for a, b in enumerate(found)) >= 8
