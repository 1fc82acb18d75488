"""Preprocessing of any image to the form of the training images of the classifier.

The result is 32 x 32 in colour, or a smaller grey image on a black background. The choice depends on how an image
looks, not on what it shows; the classifier then decides among all classes.
"""

import io
import math
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from brainnet.errors import ModelError

SIDE, SMALL, STROKES = 32, 28, 20
MAX_PIXELS = 40_000_000
# Pixels that are examined: of a larger image, means over squares. 40 million pixels would take gigabytes of memory.
EXAMINED_PIXELS = 4_000_000
# The shorter edge, at least, of means over squares that stand for the pixels: the network sees 32 x 32.
OVERVIEW_SIDE = 240
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
# what is left of the first eight bytes of a PNG when a transfer as text changes line ends: they are there to show it
_DAMAGED_PNG = (b"\x89PNG\n", b"\x89PNG\r\r\n", b"\x89PNG\r\n\x1a\r", b"\xef\xbf\xbdPNG", b"\xc2\x89PNG")
# levels (of 255) by which the background of a drawing may vary, and the smallest contrast of content
BACKGROUND_TOLERANCE, MIN_CONTRAST = 24, 16

FloatPicture = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def read_picture(data: bytes) -> FloatPicture:
    """Return the image in `data` as float32 [3, 32, 32] in 0..1, preprocessed by `preprocess`.

    The image is turned as its EXIF data say that it is to be shown. Transparent parts count as background; of several
    images in a file the first one is read, and of a range of more than 256 levels the part that the image uses.

    Raises:
        ModelError: the data is no image, is truncated, shows nothing, or has more than 40 million pixels.
    """
    pixels, whole = _decode(data, OVERVIEW_SIDE)
    picture = preprocess(pixels) if whole else _overview(pixels)
    return preprocess(decode_picture(data)) if picture is None else picture


def read_pixels(pixels: NDArray[np.generic]) -> FloatPicture:
    """Do the same as `read_picture` for an array of a camera: [H, W], or [H, W, 1, 3 or 4] in the order R, G, B, alpha.

    Raises:
        ModelError: It is not of type uint8 or of another shape, shows nothing, or has more than 40 million pixels.
    """
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or channels not in (1, 3, 4) or not pixels.size:
        raise ModelError(
            f"a frame is uint8 [height, width] or [height, width, 1, 3 or 4], not {pixels.dtype} {list(pixels.shape)}"
        )
    if pixels.shape[0] * pixels.shape[1] > MAX_PIXELS:
        raise ModelError(f"a frame has at most {MAX_PIXELS} pixels, not {pixels.shape[0] * pixels.shape[1]}")
    return preprocess(_pixels(Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and channels == 1 else pixels)))


def preprocess(pixels: Pixels) -> FloatPicture:
    """Return `pixels` [H, W, 3] as float32 [3, 32, 32] in 0..1.

    - A grey image of 28 x 28 on a black background, the form of MNIST and Fashion-MNIST, is only padded with black; one
    of
      32 x 32 with colours, the form of CIFAR-10, is unchanged.
    - A drawing, thin strokes of one colour on an even background, becomes bright strokes on black
    (`normalize_strokes`).
    - Another grey image on an even background is inverted if the background is bright, cropped to its content, scaled
    to
      28 x 28 and centred: the form of Fashion-MNIST.
    - Anything else is a photo: its central square is scaled to 32 x 32.

    Of an image whose shorter edge is at least twice `OVERVIEW_SIDE`, means over squares stand for the pixels. Where
    next to nothing is drawn, or something small, all pixels are looked at.

    Raises:
        ModelError: all pixels have the same shade.
    """
    if min(pixels.shape[:2]) >= 2 * OVERVIEW_SIDE and (picture := _overview(pixels)) is not None:
        return picture
    return _prepared(pixels)


def _overview(pixels: Pixels) -> FloatPicture | None:
    """Return what `preprocess` does from means over squares; None where they do not show what is drawn."""
    factor = max(1, min(pixels.shape[:2]) // OVERVIEW_SIDE)
    means = np.asarray(Image.fromarray(pixels).reduce(factor)) if factor > 1 else pixels
    background = np.median(_border(means), axis=0)
    if _is_even(means, background):
        try:
            drawn = _content(_contrast(_grey(means)))
        except ModelError:  # a fine line may have vanished in the means
            return None
        if max(drawn.shape) < 2 * SMALL:
            return None
    return _prepared(means)


def _prepared(pixels: Pixels) -> FloatPicture:
    grey = _grey(pixels)
    if (
        grey.shape == (SMALL, SMALL)
        and 2 * np.count_nonzero(border := _border(grey)) < border.size
        and _colourless(pixels)
    ):
        return _pad_to_side((grey / 255).astype(np.float32))
    if grey.shape == (SIDE, SIDE) and not _colourless(pixels):
        return _photo(pixels)
    background = np.median(_border(pixels), axis=0)
    if _contrast_of(pixels, background) < MIN_CONTRAST:
        size = f"{grey.shape[1]} x {grey.shape[0]} pixels"
        raise ModelError(f"the picture of {size} is all of one shade: nothing is drawn")
    if _is_even(pixels, background):
        strokes = normalize_strokes(grey)
        if _is_drawing(pixels, background, strokes):
            return _pad_to_side(strokes)
        if _colourless(pixels) and grey.shape != (SIDE, SIDE):
            return _pad_to_side(_normalize_object(grey))
    return _photo(pixels)


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).convert("L"))


def _colourless(pixels: Pixels) -> bool:
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    # channel by channel: numpy takes ten times as long along an axis of three
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return int(spread.max()) < MIN_CONTRAST


def _contrast_of(pixels: Pixels, background: NDArray[np.float64]) -> int:
    """Return the largest difference of a channel of any pixel from the background, in levels."""
    channels = [pixels[..., channel] for channel in range(3)]
    return int(max(max(c.max() - level, level - c.min()) for c, level in zip(channels, background, strict=True)))


def _is_even(pixels: Pixels, background: NDArray[np.float64]) -> bool:
    """Return whether the border of an image shows an even background."""
    return bool(np.mean(np.abs(_border(pixels) - background).max(1) < BACKGROUND_TOLERANCE) >= 0.8)


def _is_drawing(pixels: Pixels, background: NDArray[np.float64], strokes: FloatPicture) -> bool:
    """Return whether the image is a drawing: thin strokes, or broader ones of one flat ink such as a marker's.

    The limits are set on training images of MNIST and Fashion-MNIST, enlarged four times: they classify 96 % of the
    digits and 13 % of the garments as drawings.
    """
    two_tone, thick = _two_tone_score(pixels, background), _thick_share(strokes)
    return (two_tone > 0.85 and thick < 0.05) or (two_tone > 0.95 and thick < 0.2)


def _two_tone_score(pixels: Pixels, background: NDArray[np.float64]) -> float:
    """Return how well the pixels separate into background and one ink, in 0..1; 0 if they are no mixtures of the two.

    The colours of mixtures lie on a line, most of them at its ends. The result is the share of the variance along the
    line that a split into two classes explains (Otsu 1979, the criterion eta).
    """
    distance = pixels.reshape(-1, 3).astype(np.float32) - background.astype(np.float32)
    far = np.abs(distance).max(1)
    ink = distance[far > 0.5 * far.max()].mean(0)
    along = distance @ ink / float(ink @ ink)
    beside = float(np.square(distance - along[:, None] * ink).sum()) / float(np.square(distance).sum())
    return _otsu(along) if beside < 0.05 else 0.0


def _thick_share(strokes: FloatPicture) -> float:
    """Return the share of the ink that is surrounded by ink: the centres of 5 x 5 squares full of ink."""
    ink = strokes > 0.4
    within = np.lib.stride_tricks.sliding_window_view(np.pad(ink, 2), (5, 5)).all(axis=(2, 3))
    return float(within.sum()) / max(1, int(ink.sum()))


def _otsu(values: FloatPicture) -> float:
    """Return the largest share of the variance of `values` that a split into two classes explains."""
    counts, edges = np.histogram(values, 64)
    middles = (edges[:-1] + edges[1:]) / 2
    share, moment = np.cumsum(counts) / len(values), np.cumsum(counts * middles) / len(values)
    mean = moment[-1]
    inside = (share > 0) & (share < 1)
    between = (mean * share[inside] - moment[inside]) ** 2 / (share[inside] * (1 - share[inside]))
    return float(between.max(initial=0) / (counts @ (middles - mean) ** 2 / len(values)))


def normalize_strokes(grey: Pixels) -> FloatPicture:
    """Return the strokes of `grey` [H, W] as float32 [28, 28] in 0..1, bright on black.

    They are scaled to fit 20 x 20 and centred by mass, as LeCun et al. (1998) describe for MNIST.
    """
    strokes = _contrast(grey)
    strokes[strokes < 0.15] = 0
    cropped = _crop(strokes, strokes > 0)
    scaled = _scale_to(cropped, STROKES)
    scaled = np.clip(scaled / max(float(scaled.max()), 1e-6), 0, 1)
    return _center_by_mass(scaled)


def _normalize_object(grey: Pixels) -> FloatPicture:
    """Return the content of an image with an even background as float32 [28, 28] in 0..1, filling it."""
    levels = _contrast(grey)
    scaled = np.clip(_scale_to(_content(levels), SMALL), 0, 1)
    result = np.zeros((SMALL, SMALL), np.float32)
    top, left = (SMALL - scaled.shape[0]) // 2, (SMALL - scaled.shape[1]) // 2
    result[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return result


def _photo(pixels: Pixels) -> FloatPicture:
    """Return the central square of `pixels` as float32 [3, 32, 32] in 0..1."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side != SIDE:
        square = np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(square.transpose(2, 0, 1) / np.float32(255))


def _pad_to_side(small: FloatPicture) -> FloatPicture:
    edge = (SIDE - SMALL) // 2
    padded = np.zeros((3, SIDE, SIDE), np.float32)
    padded[:, edge:-edge, edge:-edge] = small
    return padded


def _contrast(grey: Pixels) -> FloatPicture:
    """Return the difference of each pixel from the background, on the side of the larger extreme, in 0..1."""
    # noise lies on both sides of the background; the content lies on the side with the larger extreme
    signed = grey.astype(np.float32) - float(np.median(_border(grey)))
    result = np.clip(signed if signed.max() >= -signed.min() else -signed, 0, None)
    peak = float(result.max())
    if peak < MIN_CONTRAST:
        raise ModelError(f"the picture of {grey.shape[1]} x {grey.shape[0]} pixels has no light and dark parts")
    return result / np.float32(peak)


def _content(levels: FloatPicture) -> FloatPicture:
    return _crop(levels, levels > 0.15)


def _crop(levels: FloatPicture, shown: NDArray[np.bool_]) -> FloatPicture:
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    return levels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scale_to(levels: FloatPicture, side: int) -> FloatPicture:
    """Return `levels` scaled such that the longer edge is `side`."""
    factor = side / max(levels.shape)
    size = (max(1, round(levels.shape[1] * factor)), max(1, round(levels.shape[0] * factor)))
    # BOX averages all pixels when shrinking, so that thin strokes do not vanish
    kernel = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(levels).resize(size, kernel))


def _center_by_mass(strokes: FloatPicture) -> FloatPicture:
    """Return `strokes` on 28 x 28, with the centre of mass in the middle as far as their size allows."""
    total = float(strokes.sum())
    result = np.zeros((SMALL, SMALL), np.float32)
    corner = []
    for axis in (0, 1):
        positions = np.arange(strokes.shape[axis])
        mass = float((strokes.sum(1 - axis) * positions).sum()) / total
        corner.append(min(max(0, round(SMALL / 2 - mass)), SMALL - strokes.shape[axis]))
    top, left = corner
    result[top : top + strokes.shape[0], left : left + strokes.shape[1]] = strokes
    return result


def _border(pixels: Pixels) -> Pixels:
    return np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])


def decode_picture(data: bytes) -> Pixels:
    """Return the pixels uint8 [H, W, 3] of an image file; of more than 4 million pixels, means over squares.

    Raises:
        ModelError: it cannot be decoded.
    """
    return _decode(data, None)[0]


def _decode(data: bytes, shorter_edge: int | None) -> tuple[Pixels, bool]:
    """Return the pixels of an image file, and whether they are those of its full size.

    Args:
        data: The file.
        shorter_edge: A JPEG is decoded at a half, a quarter or an eighth of its size, which takes less time, where its
            shorter edge then has so many pixels at least; None for the full size.

    Raises:
        ModelError: it cannot be decoded.
    """
    received = f"{len(data)} bytes that begin with {data[:8].hex(' ') or 'nothing'}"
    try:
        with warnings.catch_warnings():
            # Pillow warns of broken tags, which are harmless, and of large images, which are refused below
            warnings.simplefilter("ignore")
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height <= MAX_PIXELS:
                if shorter_edge is not None:
                    image.draft(None, (shorter_edge, shorter_edge))
                whole = image.size == (width, height)
                image.load()
                return _pixels(_upright(image)), whole
    except Exception as error:  # Pillow's readers raise many types of exceptions for broken data
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
        if data.startswith(_DAMAGED_PNG):
            reason = "a PNG whose line ends were changed on the way; send its bytes as they are"
        raise ModelError(
            f"not a picture that can be read: {received}; send one of {', '.join(FORMATS)} ({reason})"
        ) from error
    raise ModelError(f"the picture has {width} x {height} pixels; at most {MAX_PIXELS // 1_000_000} million are read")


def _upright(image: Image.Image) -> Image.Image:
    """Return the image as it is to be shown; broken EXIF data say nothing."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as for the image itself: the reader of the tags raises many types
        return image


def _pixels(image: Image.Image) -> Pixels:
    if image.mode[0] in "IF":
        image = _with_256_levels(image)
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        image = _flatten(image.convert("RGBA"))
    image = image.convert("RGB")
    if image.width * image.height > EXAMINED_PIXELS:
        # an edge may be shorter than the square
        factor = math.ceil(math.sqrt(image.width * image.height / EXAMINED_PIXELS))
        image = image.reduce((min(factor, image.width), min(factor, image.height)))
    return np.asarray(image)


def _with_256_levels(image: Image.Image) -> Image.Image:
    """Return an image of integers or floats, of any range, as one of bytes: from black to the largest value."""
    levels = np.nan_to_num(np.asarray(image, np.float32), nan=0, posinf=0, neginf=0)
    bottom, top = min(0.0, float(levels.min())), float(levels.max())
    scale = 255 / (top - bottom) if top > bottom else 0.0
    return Image.fromarray(((levels - bottom) * np.float32(scale)).astype(np.uint8))


def _flatten(image: Image.Image) -> Image.Image:
    """Return the image on white, or on black if its content is bright."""
    alpha = np.asarray(image.getchannel("A"), np.float32)
    shade = np.asarray(image.convert("RGB").convert("L"), np.float32)
    bright = float((shade * alpha).sum()) > 127.5 * float(alpha.sum())
    # without transparent parts the composite is the image itself
    background = Image.new("RGBA", image.size, (0, 0, 0, 255) if bright else (255, 255, 255, 255))
    return Image.alpha_composite(background, image)
