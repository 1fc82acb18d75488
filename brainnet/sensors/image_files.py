"""Frames of a folder of pictures, or of a list of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from brainnet.errors import ModelError, SensorError
from brainnet.sensors.blocks import Block, check_rate, sample_times
from brainnet.sensors.columns import check_file, unreadable
from brainnet.snn.models.pictures import FORMATS, decode_picture

SUFFIXES: Final = frozenset(name for name, kind in Image.registered_extensions().items() if kind in FORMATS)
"""Ends of the names of pictures."""
MAX_FILE_BYTES: Final = 256 << 20


class ImageSequence:
    """Pictures as frames uint8 [H, W, 3], or [H, W] where they are to be grey, a source of images.

    They are opened one after the other, and shown as their EXIF data say. Of pictures of more than 4 million pixels,
    each edge is divided by a whole number, and pixels are means. Frame k has the time round(k 10^6 / fps).

    Args:
        pictures: A folder, whose pictures are taken in the order of their names, numbers in them counting as numbers
            (frame_2 before frame_10); or the files themselves.
        fps: Frames per second.
        grey: One channel: ITU-R BT.601 luma, as Pillow computes it.
        size: Rows and columns to which each picture is scaled; None leaves them, and they must be alike.

    Attributes:
        files: The pictures.
        fps: Frames per second.

    Raises:
        SensorError: There is no such folder, no picture, or a rate or size that is not accepted.
    """

    modality = "image"

    def __init__(
        self, pictures: Path | Sequence[Path], fps: float, *, grey: bool = False, size: tuple[int, int] | None = None
    ) -> None:
        if isinstance(pictures, str):  # also a sequence: of its letters
            pictures = Path(pictures)
        check_rate("pictures", fps)
        if size is not None and not all(1 <= edge <= 1 << 14 for edge in size):
            raise SensorError(f"frames have 1 to 16,384 rows and columns, not {size[0]} x {size[1]}")
        self.files = _of_folder(pictures) if isinstance(pictures, Path) else list(pictures)
        if not self.files:
            what = f"{pictures} holds no picture" if isinstance(pictures, Path) else "no pictures are named"
            raise SensorError(f"{what}; names end in {', '.join(sorted(SUFFIXES))}")
        self.fps, self._grey, self._size = fps, grey, size

    def __iter__(self) -> Iterator[Block]:
        """Yield the frames.

        Raises:
            SensorError: A picture cannot be read, or has another size than the first one; names the file.
        """
        shape: tuple[int, ...] | None = None
        for number, path in enumerate(self.files):
            frame = self._frame(path)
            if shape is not None and frame.shape != shape:
                raise SensorError(
                    f"{path} has {frame.shape[1]} x {frame.shape[0]} pixels and {self.files[0]} {shape[1]} x "
                    f"{shape[0]}; give a size to scale them to"
                )
            shape = frame.shape
            yield Block(int(sample_times(number, self.fps)), frame, number)

    def _frame(self, path: Path) -> NDArray[Any]:
        try:
            if check_file(path).stat().st_size > MAX_FILE_BYTES:
                raise SensorError(f"{path} has more than {MAX_FILE_BYTES >> 20} MiB; make it smaller")
            pixels = decode_picture(path.read_bytes())
        except OSError as error:
            raise unreadable(path, error) from None
        except ModelError as error:
            raise SensorError(f"{path}: {error}") from None
        return scaled(pixels, self._grey, self._size)


def scaled(pixels: NDArray[Any], grey: bool, size: tuple[int, int] | None) -> NDArray[Any]:
    """Return a frame in the form that is wanted.

    Args:
        pixels: uint8 [H, W] or [H, W, 3].
        grey: Whether the result has one channel, [H, W]: ITU-R BT.601 luma, as Pillow computes it.
        size: Rows and columns of the result, whose pixels are means over areas; None leaves them.
    """
    if size is None and not (grey and pixels.ndim == 3):
        return pixels
    image = Image.fromarray(pixels)
    if grey:
        image = image.convert("L")
    if size is not None:
        rows, columns = size
        image = image.resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(image)


def _of_folder(folder: Path) -> list[Path]:
    try:
        if not folder.is_dir():
            raise SensorError(f"{folder}: {'it is no folder' if folder.exists() else 'there is no such folder'}")
        found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()]
    except (OSError, ValueError) as error:
        raise unreadable(folder, error) from None
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return what orders names with the numbers in them as numbers; the name itself decides between 1 and 01."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts] + [(2, 0, name)]
