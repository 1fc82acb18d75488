"""Whether a command that a page shows can be typed as it stands: verbs, options and arguments exist."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import typer.main

from brainnet.cli.app import VERBS, app, load_verb
from tests.docs.markdown import ROOT

_SEPARATORS = {"&&", "||", "|", ";", "&"}
_PLACEHOLDERS = {"VERB", "..."}


def check(text: str, *, complete: bool = True) -> None:
    """Fail unless a shell line can be run; with `complete`, no required argument may be missing.

    Only commands of brainnet are parsed. Others must be a file of the project or a program that is installed.
    """
    words: list[str] = []
    for word in [*_split(text), ";"]:
        if word not in _SEPARATORS:
            words.append(word)
        elif words:
            _check_one(words, complete)
            words = []


def _split(text: str) -> list[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    return list(lexer)


def _check_one(words: list[str], complete: bool) -> None:
    while "=" in words[0]:  # a variable of this one command
        words = words[1:]
    program, *arguments = words
    if program == "brainnet":
        _check_brainnet([a for a in arguments if a not in _PLACEHOLDERS], complete)
    elif "/" in program:
        script = ROOT / program
        assert script.is_file(), f"there is no {program}"
        for option in arguments:
            assert not option.startswith("-") or option in script.read_text(), f"{program} has no option {option}"
    else:
        beside = Path(sys.executable).parent / program  # also where the environment is not activated
        assert program in (".", "cd") or shutil.which(program) or beside.exists(), f"there is no program {program}"


def _check_brainnet(arguments: list[str], complete: bool) -> None:
    top = typer.main.get_command(app)
    while arguments and arguments[0].startswith("-"):
        known = [option for parameter in top.params for option in (*parameter.opts, "--help", "-h")]
        assert arguments.pop(0) in known
    if not arguments:
        return
    verb, *rest = arguments
    assert verb in VERBS, f"there is no verb {verb!r}"
    _parse(load_verb(verb), rest, complete)


def _parse(command: Any, arguments: list[str], complete: bool) -> None:
    children = getattr(command, "commands", {})
    if children and (not arguments or arguments == ["--help"]):
        return
    if children:
        assert arguments[0] in children, f"{command.name} has no {arguments[0]!r}; it has {', '.join(children)}"
        _parse(children[arguments[0]], arguments[1:], complete)
        return
    try:
        command.make_context(command.name, arguments)
    except Exception as error:
        if complete or type(error).__name__ != "MissingParameter":
            reason = error.format_message() if hasattr(error, "format_message") else str(error)
            raise AssertionError(f"{command.name} {' '.join(arguments)}: {reason}") from None
