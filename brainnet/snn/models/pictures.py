"""From any picture to what the classifier was trained on: 32 x 32 in colour, small grey pictures on black ground.

How a picture is arranged depends on how it looks, not on what it shows; the classifier then decides among all classes.
"""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from brainnet.errors import ModelError

SIDE, SMALL, STROKES = 32, 28, 20
MOST_PIXELS = 40_000_000
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
# levels (of 255) by which the ground of a drawing may vary, and below which nothing counts as drawn
GROUND, FAINTEST = 24, 16

FloatPicture = NDArray[np.float32]
Pixels = NDArray[np.uint8]


def read_picture(data: bytes) -> FloatPicture:
    """The picture in `data` as float32 [3, 32, 32] in 0..1, as `arranged` makes it.

    Transparent parts count as ground. Raises ModelError, saying what was received, for data that is no picture, is
    truncated, shows nothing, or has more than 40 million pixels.
    """
    return arranged(_decoded(data))


def arranged(pixels: Pixels) -> FloatPicture:
    """`pixels` [H, W, 3] as float32 [3, 32, 32] in 0..1.

    - A grey picture of 28 x 28 on black ground, the form of MNIST and Fashion-MNIST, is framed in black, untouched;
      one of 32 x 32 with colours, the form of CIFAR-10, is left as it is.
    - A drawing, thin strokes of one colour on even ground, becomes `normalised` bright strokes on black.
    - Another grey picture on even ground is negated where the ground is bright, cropped to what stands out, scaled to
      fit 28 x 28 and centred: the form of Fashion-MNIST.
    - Anything else is a photo: its central square, scaled to 32 x 32.

    Raises ModelError where all pixels are of one shade.
    """
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    colourless = int(np.ptp(pixels, axis=2).max()) < FAINTEST
    if grey.shape == (SMALL, SMALL) and colourless and np.median(_border(grey)) == 0:
        return _framed((grey / 255).astype(np.float32))
    if grey.shape == (SIDE, SIDE) and not colourless:
        return _photo(pixels)
    ground = np.median(_border(pixels), axis=0)
    if int(np.abs(pixels - ground).max()) < FAINTEST:
        raise ModelError(
            f"the picture of {grey.shape[1]} x {grey.shape[0]} pixels is all of one shade: nothing is drawn"
        )
    if np.mean(np.abs(_border(pixels) - ground).max(1) < GROUND) >= 0.8:
        strokes = normalised(grey)
        if _drawn(pixels, ground, strokes):
            return _framed(strokes)
        if colourless and grey.shape != (SIDE, SIDE):
            return _framed(_garment(grey))
    return _photo(pixels)


def _drawn(pixels: Pixels, ground: NDArray[np.float64], strokes: FloatPicture) -> bool:
    """Whether a pen drew this: thin strokes, or broader ones of one flat ink, as a marker's.

    The limits are set on training pictures of MNIST and Fashion-MNIST, enlarged four times: they take 96 % of the
    digits and 13 % of the garments for drawings.
    """
    ink, broad = _one_ink(pixels, ground), _broad(strokes)
    return (ink > 0.85 and broad < 0.05) or (ink > 0.95 and broad < 0.2)


def _one_ink(pixels: Pixels, ground: NDArray[np.float64]) -> float:
    """How far `pixels` are either `ground` or one ink, in 0..1; 0 where they are not even mixtures of the two.

    The colours of mixtures lie on a line, and most lie at its ends: how much of the variance along it splitting them in
    two classes explains (Otsu 1979, the criterion eta).
    """
    distance = pixels.reshape(-1, 3).astype(np.float32) - ground.astype(np.float32)
    far = np.abs(distance).max(1)
    ink = distance[far > 0.5 * far.max()].mean(0)
    along = distance @ ink / float(ink @ ink)
    beside = float(np.square(distance - along[:, None] * ink).sum()) / float(np.square(distance).sum())
    return _otsu(along) if beside < 0.05 else 0.0


def _broad(strokes: FloatPicture) -> float:
    """The share of the ink of `normalised` `strokes` around which all is ink, 5 pixels wide both ways."""
    ink = strokes > 0.4
    within = np.lib.stride_tricks.sliding_window_view(np.pad(ink, 2), (5, 5)).all(axis=(2, 3))
    return float(within.sum()) / max(1, int(ink.sum()))


def _otsu(values: FloatPicture) -> float:
    """The largest share of the variance of `values` that splitting them in two classes explains."""
    counts, edges = np.histogram(values, 64)
    middles = (edges[:-1] + edges[1:]) / 2
    share, moment = np.cumsum(counts) / len(values), np.cumsum(counts * middles) / len(values)
    mean = moment[-1]
    inside = (share > 0) & (share < 1)
    between = (mean * share[inside] - moment[inside]) ** 2 / (share[inside] * (1 - share[inside]))
    return float(between.max(initial=0) / (counts @ (middles - mean) ** 2 / len(values)))


def normalised(grey: Pixels) -> FloatPicture:
    """The strokes of `grey` [H, W], whichever is brighter, ground or strokes, as float32 [28, 28] in 0..1.

    Scaled so that they fit 20 x 20 and centred by mass, as LeCun et al. (1998) describe for MNIST.
    """
    strokes = _above_ground(grey)
    strokes[strokes < 0.15] = 0
    cropped = _cropped(strokes, strokes > 0)
    scaled = _fitted(cropped, STROKES)
    scaled = np.clip(scaled / max(float(scaled.max()), 1e-6), 0, 1)
    return _centred(scaled)


def _garment(grey: Pixels) -> FloatPicture:
    """What stands out from even ground as float32 [28, 28] in 0..1, filling it."""
    levels = _above_ground(grey)
    scaled = np.clip(_fitted(_cropped(levels, levels > 0.15), SMALL), 0, 1)
    result = np.zeros((SMALL, SMALL), np.float32)
    top, left = (SMALL - scaled.shape[0]) // 2, (SMALL - scaled.shape[1]) // 2
    result[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
    return result


def _photo(pixels: Pixels) -> FloatPicture:
    """The central square of `pixels` as float32 [3, 32, 32] in 0..1."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side != SIDE:
        square = np.asarray(Image.fromarray(square).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return np.ascontiguousarray(square.transpose(2, 0, 1) / np.float32(255))


def _framed(small: FloatPicture) -> FloatPicture:
    edge = (SIDE - SMALL) // 2
    return np.broadcast_to(np.pad(small, edge), (3, SIDE, SIDE)).copy()


def _above_ground(grey: Pixels) -> FloatPicture:
    """How far each pixel is from the ground, on the side of the stronger extreme, in 0..1."""
    # noise lies on both sides of the ground; the side with the stronger extreme holds what is shown
    signed = grey.astype(np.float32) - float(np.median(_border(grey)))
    result = np.clip(signed if signed.max() >= -signed.min() else -signed, 0, None)
    peak = float(result.max())
    if peak < FAINTEST:
        raise ModelError(f"the picture of {grey.shape[1]} x {grey.shape[0]} pixels has no light and dark parts")
    return result / np.float32(peak)


def _cropped(levels: FloatPicture, shown: NDArray[np.bool_]) -> FloatPicture:
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    return levels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _fitted(levels: FloatPicture, side: int) -> FloatPicture:
    """`levels` scaled so that the longer edge is `side`."""
    factor = side / max(levels.shape)
    size = (max(1, round(levels.shape[1] * factor)), max(1, round(levels.shape[0] * factor)))
    kernel = Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(levels).resize(size, kernel))


def _centred(strokes: FloatPicture) -> FloatPicture:
    """`strokes` on a 28 x 28 ground, the centre of mass in the middle as far as the strokes allow."""
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


def _decoded(data: bytes) -> Pixels:
    """Pixels [H, W, 3]; raises ModelError for what cannot be decoded."""
    picture = _opened(data)
    if picture.mode in ("I;16", "I", "F"):
        levels = np.nan_to_num(np.asarray(picture, np.float32), posinf=0, neginf=0)
        top = float(levels.max()) or 1.0
        picture = Image.fromarray((np.clip(levels, 0, None) * (255 / top)).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = _flattened(picture.convert("RGBA"))
    return np.asarray(picture.convert("RGB"))


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
    """`picture` on white, or on black when what is drawn is itself bright."""
    alpha = np.asarray(picture.getchannel("A"), np.float32)
    shade = np.asarray(picture.convert("RGB").convert("L"), np.float32)
    bright = float((shade * alpha).sum()) > 127.5 * float(alpha.sum())
    # a picture without transparent parts keeps its own ground
    ground = Image.new("RGBA", picture.size, (0, 0, 0, 255) if bright else (255, 255, 255, 255))
    return Image.alpha_composite(ground, picture)
