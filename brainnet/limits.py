"""The limits of names, texts and times: one home for all that is written in files, typed, or sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from brainnet.texts import did_you_mean, printable, shorten

MAX_NAME: Final = 64
"""Characters of a name: the id of a node, the name of a host, a namespace."""
NAME_PATTERN: Final = r"^[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*$"
"""A name is a chunk of a key and the stem of a file, so it holds none of their separators and is not only dots."""
NAME_RULE: Final = f"should be a name of at most {MAX_NAME} letters, digits, '_', '-' and '.', and not only dots"
"""What `NAME_PATTERN` and `MAX_NAME` accept, as the end of a sentence."""
POPULATION: Final = "population"
"""The program of a node that computes populations of a network; `population:PROGRAM` also does what another does."""
DEVICE: Final = "device"
"""The program of a node that computes a population on a neuromorphic device."""
ENCODER: Final = "encoder"
"""The program of a node that computes a population which encodes what a sensor measures."""
RESERVED_IDS: Final = ("launcher",)
"""Ids that no node may have: the launcher logs under its own name."""
MAX_LINE: Final = 4352
"""Characters of what is named in one line: a program, a module, an endpoint. The longest path of Linux has 4,096."""
LINE_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"
"""One line without control characters."""
DEVICE_PATTERN: Final = r"^(cpu|cuda(:[0-9]{1,3})?)$"
"""A device for computations."""
MAX_DEADLINE_MS: Final = 600_000
"""Milliseconds after which a prompt must have its answer, at most: ten minutes."""
MAX_WAIT_S: Final = 3600.0
"""Seconds that a program may wait for others, at most: one hour."""
MAX_GRACE_S: Final = 300.0
"""Seconds between the signals of a stop, at most: five minutes."""
MAX_VARIABLE: Final = 32_768
"""Characters of an environment variable, its name included. Linux refuses a process with one of 128 KiB."""
MAX_THREADS: Final = 1024
"""Compute threads of one node."""
MAX_CPU: Final = 8191
"""The largest number of a CPU that Linux knows."""
MAX_NODE_BYTES: Final = 240 << 10
"""Bytes of the description of one node as JSON, parameters and environment included. The process of a node gets it
in one packet of at most 256 KiB, which also holds the path of the log."""
_NOT_TEXT: Final = "should be UTF-8; rename the file or the folder"


def is_name(text: str) -> bool:
    """Return whether a text is a name, as `Name` checks it."""
    return len(text) <= MAX_NAME and re.fullmatch(NAME_PATTERN, text) is not None


def _check_variable_name(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError("the name of a variable is not empty and holds neither '=' nor a NUL character")
    return _check_variable(name)


def _check_variable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a variable holds no NUL character")
    if len(text) > MAX_VARIABLE:
        raise ValueError(f"a variable has at most {MAX_VARIABLE} characters, this one has {len(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("a variable holds Unicode text only, without halves of surrogate pairs") from None
    return text


def _check_path(path: Path) -> Path:
    try:
        if b"\0" in str(path).encode():
            raise ValueError("a path holds no NUL character")
    except UnicodeEncodeError:
        raise ValueError(_NOT_TEXT) from None
    return path


FilePath = Annotated[Path, AfterValidator(_check_path)]
"""A path that can be handed to a process: what is sent between processes is UTF-8."""
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=MAX_NAME)]
"""The id of a node, the name of a host, a namespace."""
MAX_EXAMPLES: Final = 64
"""Examples of prompts that a region may name."""
Line = Annotated[str, Field(min_length=1, max_length=MAX_LINE, pattern=LINE_PATTERN)]
"""What is named in one line, without control characters."""
Environment = dict[
    Annotated[str, AfterValidator(_check_variable_name)], Annotated[str, AfterValidator(_check_variable)]
]
"""Environment variables that every process can be given."""
Seconds = Annotated[float, Field(ge=0, le=MAX_WAIT_S, allow_inf_nan=False)]
"""A finite time of at most an hour, in seconds."""

_RULES: Final = {
    NAME_PATTERN: NAME_RULE,
    LINE_PATTERN: "should be one line without control characters",
    DEVICE_PATTERN: "should be cpu, cuda or cuda:N",
}
_KINDS: Final = {
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "dict_type": "should be a map",
    "model_type": "should be a map",
    "model_attributes_type": "should be a map",
}
"""What pydantic calls by the names of Python, in those of YAML."""


def mistake(item: Any) -> str:
    """Return a mistake that pydantic found as text, with what is accepted instead and the value that was given.

    Args:
        item: One of the errors of a `ValidationError`.
    """
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "string_pattern_mismatch":
        message = _RULES.get(item["ctx"]["pattern"], message)
    elif item["type"] == "string_unicode":
        message = _NOT_TEXT
    elif item["type"] == "union_tag_not_found":
        message = f"should have {item['ctx']['discriminator'].strip(chr(39))}, which says of which kind it is"
    elif item["type"] == "union_tag_invalid":
        return _unknown_kind(item["ctx"])
    elif item["type"] == "too_short":
        message = f"should hold at least {item['ctx']['min_length']}"
    else:
        message = _KINDS.get(item["type"], message)
    value = item["input"]
    shown = "" if isinstance(value, dict | list | tuple) else f", got {printable(shorten(repr(value), 80))}"
    return message[0].lower() + message[1:] + shown


def _unknown_kind(context: Any) -> str:
    field, kind = context["discriminator"].strip("'"), str(context["tag"])
    known = [name.strip("'") for name in context["expected_tags"].split(", ")]
    hint = f"{did_you_mean(kind, known)}; known are {', '.join(known)}"
    return f"{field}: unknown {printable(shorten(repr(kind), 80))}{hint}"
