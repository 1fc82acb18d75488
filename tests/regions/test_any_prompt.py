"""Every region, asked anything: it answers or gives its reason, and what it says can be sent in every form."""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from brainnet import Prompt
from brainnet.node import load_program
from brainnet.paths import region_file
from brainnet.testing import MemoryBrain
from brainnet.wire.messages import encode
from brainnet.wire.messages.codec import MAX_TEXT

PARAMETERS: dict[str, dict[str, Any]] = {
    "hippocampus": {},
    "vision": {},
    "language": {"max_tokens": 2},
    "cerebellum": {},
    "motor_cortex": {"timeout_s": 0.01},
}
PIECES = st.sampled_from(
    [
        "Remember that ", "the microscope’s", "microscopes", " is ", "Where ", "what did I tell you",
        "which digit is this", "(0.1, 0.1)", "x=", "1e999", "٣٫٥", "−5 cm", "predict", "Continue: ", '"', "“", "?", "!",
        "…", "\u202e", "\u200b",
        "👩‍👩‍👧", "İstanbul", "ﬁ", "\x00", "\x07", "\n\n", "\t", "\u0301" * 40, "हिन्दी", "日本語",
        "y" * 3000, " " * 500, "0" * 400,
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=10).map("".join),
    st.sampled_from([" ", "y", "1", "a ", "x=1 ", "please ", "\u0301\u0323", "("]).map(
        lambda unit: unit * (MAX_TEXT // len(unit))
    ),
)  # fmt: skip


@st.composite
def pictures(draw: st.DrawFn) -> bytes:
    """Draw a picture of any mode and size, perhaps cut off, or bytes that are none."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=60))
    width, height = draw(st.sampled_from([(1, 1), (1, 900), (900, 1), (28, 28), (32, 32), (90, 60)]))
    mode = draw(st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "F", "I;16"]))
    levels = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width))
    kinds: dict[str, type[Any]] = {"I": np.int32, "F": np.float32, "I;16": np.uint16}
    picture = Image.fromarray(levels.astype(kinds.get(mode, np.uint8)))
    buffer = io.BytesIO()
    (picture if mode in kinds else picture.convert(mode)).save(buffer, "TIFF")
    data = buffer.getvalue()
    return data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data


FIELDS = st.fixed_dictionaries(
    {"text": TEXTS},
    optional={
        "image": pictures(),
        "audio": st.binary(max_size=20),
        "arrays": st.dictionaries(st.text(max_size=5), st.binary(max_size=20), max_size=2),
        "session_id": st.text(max_size=9),
    },
)


@pytest.mark.parametrize("region", PARAMETERS)
@given(fields=st.lists(FIELDS, min_size=1, max_size=8))
@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
def test_any_prompt_gets_an_answer_or_a_reason(region: str, fields: list[dict[str, Any]]) -> None:
    async def asked() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with MemoryBrain(Path(folder)) as brain:
                node = await brain.start(load_program(str(region_file(region))), region, parameters=PARAMETERS[region])
                for given_ in fields:
                    try:
                        prompt = Prompt(**given_, deadline_ms=600_000)
                    except ValidationError:  # it asks nothing
                        continue
                    partial = await brain.query(region, prompt)
                    assert partial.code != "internal", partial.error
                    assert (partial.error is None) == bool(partial.candidates)
                    partial.spikes = None
                    for as_json in (False, True):
                        assert encode(partial, as_json=as_json)
                assert "errors" not in node.health().counters

    asyncio.run(asked())
