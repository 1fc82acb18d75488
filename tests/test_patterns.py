"""Every regular expression of the project takes linear time on the longest text that a prompt may have."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import brainnet
from brainnet.memory import guess_language, terms
from brainnet.node import load_program
from brainnet.paths import region_file, share_dir
from brainnet.prompts.requests import split_requests
from brainnet.snn.models.text_features import normalise, route_tokens, words
from brainnet.wire.messages.codec import MAX_TEXT

PACKAGE = Path(brainnet.__file__).parent
NODES = share_dir() / "nodes"
LIMITS = {100: 1.0, 20: 2.5, 2: 25.0}
"""Divisor of the length of `MAX_TEXT` characters: CPU time, as a multiple of what `reference` takes.

A linear pattern takes about as long for the longest text as the reference, some milliseconds, a quadratic one half a
minute. It is found out with shorter ones: what takes a thousand times as long as the reference for the longest text
takes 2.5 times as long for a twentieth of it.
"""

# fmt: off
UNITS = (
    " ", "\n", "\t ", "a", "A ", "1", "1.", ".1", "-", "+1 ", "1e", "0 ", ",", ", ", ". ", "!", "? ", "'", '"', "“",
    "(", "[", "{", "<", "<!", "<?", ")", "]", "}", "{a", "[a", "_", "y", "é", "\u0301\u0323", "#", "a'", "a-", "a.",
    "x=1 ", "x 1 y ", "1 cm ", "1x", "please ", "please, ", "remember ", "remember that ", "continue the ", "the ",
    "x: ", ". remember ", "Mr. ", '."', "can you ", "a1", "\u200b", "日本", "\x00",
    "no, ", "actually ", "not a but ", "what ", "und ", "の", "है ", "l'a ", "Is the ", "ال", "? and ",
)
# fmt: on
"""What an adverse text repeats."""
STARTS = ("remember", "x=1", "continue the text", "(")
PAIRS = (
    (" ", "1"),
    ("1", " "),
    ("a", " "),
    (" ", "a"),
    (".", " "),
    ("'", " "),
    ("1 ", ","),
    ("a ", "!"),
    ("please ", " "),
)
"""What the two halves of an adverse text repeat."""


def sources() -> Iterator[Path]:
    """Yield every source file of the library and of the regions that works with regular expressions."""
    for folder in (PACKAGE, NODES):
        for path in sorted(folder.rglob("*.py")):
            if re.search(r"^\s*import re\b|^from re import", path.read_text(), re.MULTILINE):
                yield path


def literal_patterns(path: Path) -> Iterator[re.Pattern[str]]:
    """Yield the patterns that are written in place: `re.sub(r"...", ...)`."""
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args:
            first = call.args[0]
            module = call.func.value
            if isinstance(module, ast.Name) and module.id == "re" and isinstance(first, ast.Constant):
                assert isinstance(first.value, str | bytes)
                text = first.value if isinstance(first.value, str) else first.value.decode()
                yield re.compile(text, re.IGNORECASE if "IGNORECASE" in ast.dump(call) else 0)


def module_of(path: Path) -> Any:
    """Import the module of a file."""
    if path.is_relative_to(PACKAGE):
        return importlib.import_module(".".join(("brainnet", *path.relative_to(PACKAGE).with_suffix("").parts)))
    if path == region_file(path.parent.name):
        return sys.modules[load_program(str(path)).__module__]
    return importlib.import_module(path.stem)


def held(value: object) -> Iterator[re.Pattern[str]]:
    """Yield the patterns that a name of a module holds, alone or in a collection."""
    if isinstance(value, re.Pattern):
        yield (
            value if isinstance(value.pattern, str) else re.compile(value.pattern.decode(), value.flags & re.IGNORECASE)
        )
    elif isinstance(value, list | tuple | dict | set | frozenset):
        for item in value.values() if isinstance(value, dict) else value:
            yield from held(item)


def patterns() -> dict[str, re.Pattern[str]]:
    """Return every pattern of the project by file and number."""
    found: dict[str, re.Pattern[str]] = {}
    for path in sources():
        own = [*literal_patterns(path)]
        for value in vars(module_of(path)).values():
            own += held(value)
        distinct = {(pattern.pattern, pattern.flags): pattern for pattern in own}
        found |= {f"{path.name}-{number}": pattern for number, pattern in enumerate(distinct.values())}
    return found


PATTERNS = patterns()


def adversaries(length: int) -> Iterator[str]:
    """Yield texts of a length that are hard for patterns which go back."""
    for unit in UNITS:
        body = unit * (length // len(unit) + 1)
        yield body[: length - 1] + "x"
        for start in STARTS:
            yield (start + body)[: length - 1] + "\x01"
    half = length // 2
    for first, second in PAIRS:
        yield (first * half)[:half] + (second * half)[:half]


TEXTS = {divisor: [*adversaries(MAX_TEXT // divisor)] for divisor in LIMITS}
WORDS = re.compile(r"\w+")


def reference(text: str) -> object:
    """Do something that is known to take linear time."""
    return deque(WORDS.finditer(text), maxlen=0)


def assert_linear(use: Callable[[str], object]) -> None:
    """Assert that no adverse text takes longer than the limit of its length, beginning with shorter ones."""
    for divisor, texts in TEXTS.items():
        # of the longest ones, which cost most, some of those that repeat one thing
        for text in texts if divisor > 2 else texts[:: 3 * (len(STARTS) + 1)]:
            if cpu_s(use, text) <= LIMITS[divisor] * FASTEST_REFERENCE_S:
                continue
            # Again, both at the same time, since the machine may be slower now, or have done something else at this
            # thread's expense.
            assert any(cpu_s(use, text) <= LIMITS[divisor] * cpu_s(reference, LONG) for _ in range(5)), (
                f"{cpu_s(use, text):.3f} s for {len(text)} characters: {text[:20]!r} ... {text[-5:]!r}"
            )


def cpu_s(use: Callable[[str], object], text: str) -> float:
    """Return the CPU time of this thread that a use takes."""
    begun = time.thread_time()
    use(text)
    return time.thread_time() - begun


LONG = "a " * (MAX_TEXT // 2)
FASTEST_REFERENCE_S = min(cpu_s(reference, LONG) for _ in range(5))


def test_the_patterns_are_found() -> None:
    names = {name.partition("-")[0] for name in PATTERNS}
    assert {
        "hippocampus_prompts.py",
        "hippocampus_statements.py",
        "language.py",
        "cerebellum.py",
        "motor_cortex_targets.py",
        "text_features.py",
    } <= names


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_takes_linear_time(name: str) -> None:
    pattern = PATTERNS[name]
    # from every place at which it may begin, as in search; the first place is that of match
    assert_linear(lambda text: deque(pattern.finditer(text), maxlen=0))


def programs() -> dict[str, Callable[[str], object]]:
    """Return what regions do with a text before a model sees it."""
    memory = importlib.import_module("hippocampus_prompts")
    english = importlib.import_module("hippocampus_english")
    language = module_of(region_file("language"))
    targets = importlib.import_module("motor_cortex_targets")

    def target(text: str) -> object:
        try:
            return targets.parse_target(text)
        except brainnet.RegionError as error:
            return error

    return {
        "statement": memory.statement_to_remember,
        "content words": english.content_words,
        "understood": memory.understand,
        "requests": split_requests,
        "language of a text": guess_language,
        "target": target,
        "text to continue": language.text_to_continue,
        "sentence": lambda text: language.sentence_end(text, 1000),
        "words": words,
        "route tokens": route_tokens,
        "terms": terms,
        "normalise": normalise,
    }


@pytest.mark.parametrize("name", programs())
def test_what_is_done_with_a_text_takes_linear_time(name: str) -> None:
    assert_linear(programs()[name])
