"""From any picture of one written digit to what the classifier was trained on: 28 x 28, centred, bright on dark."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from brainnet.errors import ModelError

SIDE, STROKES = 28, 20
MOST_PIXELS = 40_000_000
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
FloatPicture = NDArray[np.float32]


def read_digit(data: bytes) -> FloatPicture:
    """The picture in ``data`` as float32 [28, 28] in 0..1, bright strokes on dark ground.

    A 28 x 28 picture on black ground passes through untouched. Anything else is made grey (transparent parts count as
    ground), inverted when the ground is brighter than the strokes, cropped to the strokes, scaled so that they fit
    20 x 20, and centred by mass, as LeCun et al. (1998) describe for MNIST. Raises ModelError, saying what was
    received, for data that is no picture, is truncated, shows nothing, or has more than 40 million pixels.
    """
    grey = _decoded(data)
    if grey.shape == (SIDE, SIDE) and np.median(_border(grey)) == 0:
        return (grey / 255).astype(np.float32)
    return normalised(grey)


def normalised(grey: NDArray[np.uint8]) -> FloatPicture:
    """The strokes of ``grey`` [H, W], whichever is brighter, ground or strokes, as float32 [28, 28] in 0..1."""
    ground = float(np.median(_border(grey)))
    # noise lies on both sides of the ground; the side with the stronger extreme holds the strokes
    signed = grey.astype(np.float32) - ground
    strokes = np.clip(signed if signed.max() >= -signed.min() else -signed, 0, None)
    peak = float(strokes.max())
    if peak < 16:
        raise ModelError(
            f"the picture of {grey.shape[1]} x {grey.shape[0]} pixels is all of one shade: nothing is drawn"
        )
    strokes /= peak
    strokes[strokes < 0.15] = 0
    rows, columns = np.flatnonzero(strokes.any(1)), np.flatnonzero(strokes.any(0))
    cropped = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    factor = STROKES / max(cropped.shape)
    size = (max(1, round(cropped.shape[1] * factor)), max(1, round(cropped.shape[0] * factor)))
    scaled = np.asarray(
        Image.fromarray(cropped).resize(size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC)
    )
    scaled = np.clip(scaled / max(float(scaled.max()), 1e-6), 0, 1)
    return _centred(scaled)


def _centred(strokes: FloatPicture) -> FloatPicture:
    """``strokes`` on a 28 x 28 ground, the centre of mass in the middle as far as the strokes allow."""
    total = float(strokes.sum())
    result = np.zeros((SIDE, SIDE), np.float32)
    corner = []
    for axis in (0, 1):
        positions = np.arange(strokes.shape[axis])
        mass = float((strokes.sum(1 - axis) * positions).sum()) / total
        corner.append(min(max(0, round(SIDE / 2 - mass)), SIDE - strokes.shape[axis]))
    top, left = corner
    result[top : top + strokes.shape[0], left : left + strokes.shape[1]] = strokes
    return result


def _border(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])


def _decoded(data: bytes) -> NDArray[np.uint8]:
    """Grey levels [H, W]; raises ModelError for what cannot be decoded."""
    picture = _opened(data)
    if picture.mode in ("I;16", "I", "F"):
        levels = np.nan_to_num(np.asarray(picture, np.float32), posinf=0, neginf=0)
        top = float(levels.max()) or 1.0
        return (np.clip(levels, 0, None) * (255 / top)).astype(np.uint8)
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = _flattened(picture.convert("RGBA"))
    return np.asarray(picture.convert("L"))


def _opened(data: bytes) -> Image.Image:
    received = f"{len(data)} bytes that begin with {data[:8].hex(' ') or 'nothing'}"
    try:
        with warnings.catch_warnings():
            # what Pillow warns of, broken tags or a great size, is either harmless or refused below
            warnings.simplefilter("ignore")
            picture: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            size = picture.width * picture.height
            if size <= MOST_PIXELS:
                picture.load()
    except Exception as error:  # Pillow's readers raise whatever the broken data made them stumble over
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise ModelError(
            f"not a picture that can be read: {received}; send one of {', '.join(FORMATS)} ({reason})"
        ) from error
    if size > MOST_PIXELS:
        raise ModelError(
            f"the picture has {picture.width} x {picture.height} pixels; "
            f"at most {MOST_PIXELS // 1_000_000} million are read"
        )
    return picture


def _flattened(picture: Image.Image) -> Image.Image:
    """``picture`` on white, or on black when what is drawn is itself bright."""
    alpha = np.asarray(picture.getchannel("A"), np.float32)
    shade = np.asarray(picture.convert("RGB").convert("L"), np.float32)
    bright = float((shade * alpha).sum()) > 127.5 * float(alpha.sum())
    # a picture without transparent parts keeps its own ground
    ground = Image.new("RGBA", picture.size, (0, 0, 0, 255) if bright else (255, 255, 255, 255))
    return Image.alpha_composite(ground, picture)
