"""The arrays of a file as SpikePackets of a prompt; every file that cannot be sent is one error that names it."""

from __future__ import annotations

import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainnet.client.arrays import read_arrays
from brainnet.errors import MessageError
from brainnet.wire.messages import MAX_PROMPT_BYTES
from brainnet.wire.packet import MAX_ELEMENTS, SpikePacket


def read(path: Path) -> dict[str, Any]:
    return {name: SpikePacket.decode(payload).data for name, payload in read_arrays(path).items()}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_each_array_has_its_name_and_a_type_of_packets(tmp_path: Path, save: Any) -> None:
    draws = np.random.default_rng(1)
    arrays = {
        "spikes": draws.random((7, 20)) < 0.2,
        "columns": np.asfortranarray(draws.random((7, 20)) < 0.2),
        "counts": draws.integers(0, 256, (3, 4)),
        "far": np.array([[-3, 70_000]]),
        "wide": draws.random((2, 3)),
        "half": draws.random((2, 3)).astype(np.float16),
        "swapped": draws.random((2, 3)).astype(">f4"),
        "none": np.zeros((4, 0)),
    }
    save(tmp_path / "a.npz", **arrays)
    found = read(tmp_path / "a.npz")
    kinds = {name: str(array.dtype) for name, array in found.items()}
    assert kinds == {
        "spikes": "uint8",
        "columns": "uint8",
        "counts": "uint8",
        "far": "float32",
        "wide": "float32",
        "half": "float16",
        "swapped": "float32",
        "none": "float32",
    }
    for name, array in arrays.items():
        assert np.array_equal(found[name], array.astype(found[name].dtype))


def test_a_single_array_has_the_name_of_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "spikes.npy", np.eye(3, dtype=bool))
    assert np.array_equal(read(tmp_path / "spikes.npy")["spikes"], np.eye(3))


def saved(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_what_cannot_be_sent_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).random((1, MAX_PROMPT_BYTES // 4 + 1), np.float32)
    many = {f"a{i}": noise[:, : noise.size // 3] for i in range(4)}
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(huge, {"descr": "|u1", "fortran_order": False, "shape": (1 << 40, 1 << 20)})
    cases: dict[str, tuple[Any, str]] = {
        "objects": ({"x": np.array([[{}]], object)}, "arrays .*, x: holds objects"),
        "text": ({"x": np.array([["a"]])}, "x: holds <U1"),
        "complex": ({"x": np.array([[1j]])}, "x: holds complex128"),
        "flat": ({"x": np.zeros(3)}, r"x: has the shape \[3\]; it must be \[neurons, steps\]"),
        "NaN": ({"x": np.array([[np.nan]])}, "x: .*NaN"),
        "overflow": ({"x": np.array([[1e300]])}, "x: .*infinity"),
        "whole": ({"x": np.array([[1 << 40]])}, "x: has whole numbers from 1099511627776 to"),
        "elements": ({"x": np.zeros((1, MAX_ELEMENTS + 1), bool)}, f"x: is too large: {MAX_ELEMENTS + 1} values"),
        "bytes": ({"x": noise}, f"x: is too large: .* bytes, and a prompt may have {MAX_PROMPT_BYTES}"),
        "together": (many, "are too large: .* bytes up to a2"),
        "no array": ({}, "holds no array"),
        "declared": (huge.getvalue(), "is too large"),
        "cut": (saved(np.zeros((9, 9)))[:-5], "ends after 643 of 648 bytes"),
        "header": (saved(np.zeros((2, 2))).replace(b"}", b" "), "the header of an array is damaged"),
        "noise": (b"no arrays", "is no npz or npy file that can be read"),
        "empty": (b"", "is no npz or npy file that can be read"),
        "zip": (b"PK no zip", "is no npz or npy file that can be read"),
    }
    for name, (content, says) in cases.items():
        path = tmp_path / f"{name}.npz"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.savez_compressed(path, **content)
        with pytest.raises(MessageError, match=says) as raised:
            read_arrays(path)
        assert str(path) in str(raised.value), name
        assert "\n" not in str(raised.value)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    for name, says in (
        ("none.npz", "there is no such file"),
        (".", "it is no file"),
        ("pipe", "it is no file"),
        ("other.npz", "is no npz or npy file"),
    ):
        with pytest.raises(MessageError, match=re.escape(str(tmp_path / name)) + f".*{says}"):
            read_arrays(tmp_path / name)


@given(place=st.integers(0, 600), value=st.integers(0, 255), packed=st.booleans())
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    buffer = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, spikes=np.eye(6, dtype=bool), more=np.ones((2, 2)))
    data = bytearray(buffer.getvalue())
    data[place % len(data)] = value
    path.write_bytes(data)
    said = str(path)
    try:
        read_arrays(path)
    except MessageError as error:
        said = str(error)
    assert str(path) in said
