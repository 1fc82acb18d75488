"""Write the pages of docs/reference that follow from the code: command line, settings, files, topics.

Run `python scripts/reference.py` after a change to a verb, a setting, an allocation field or the wire contract.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from brainnet.cli.app import VERBS, app, load_verb
from brainnet.launcher.describe import allocation
from brainnet.node.spec import NodeEntry, Restart
from brainnet.settings import Settings
from brainnet.wire.declared import DeclaredField
from brainnet.wire.extension import ExtensionFile
from brainnet.wire.topics import MailboxSpec, Topic, contract

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "reference"
NOTE = "<!-- Written by `python scripts/reference.py`. -->\n"


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command as a person types it (`topic echo`), with what Typer knows of it."""
    yield "", typer.main.get_command(app)
    for verb in VERBS:
        yield from _with_subcommands(verb, load_verb(verb))


def _with_subcommands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for child, below in getattr(command, "commands", {}).items():
        yield from _with_subcommands(f"{name} {child}", below)


def command_line() -> str:
    """Return the page of the command line."""
    parts = [
        "# Command line\n",
        NOTE,
        "Each verb explains itself with `--help`. A verb exits with status 0 only if it did what it was asked; an",
        "error is one line on stderr, and `brainnet --debug VERB` adds the traceback. Verbs with `--json` print one",
        "JSON object per line. `--namespace`, `--port` and `--hub` choose the brain.\n",
    ]
    for name, command in commands():
        full = f"brainnet {name}".strip()
        parts.append(f"## {full}\n")
        parts.append(_help_text(command.help or "") + "\n")
        rows = [_parameter_row(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
        rows = [row for row in rows if row]
        if rows:
            parts.append("| argument or option | meaning |\n|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _help_text(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines()]
    return "\n".join(
        f"Example: `{line.removeprefix('Example: ')}`" if line.startswith("Example: ") else _escaped(line)
        for line in lines
    )


def _parameter_row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = (parameter.metavar or parameter.name).strip("[]").upper()
        spelled = f"`{name}`" if parameter.required else f"`[{name}]`"
    elif "--install-completion" in parameter.opts or "--show-completion" in parameter.opts:
        return ""
    else:
        spelled = ", ".join(f"`{option}`" for option in parameter.opts)
    return f"| {spelled} | {_escaped(getattr(parameter, 'help', None) or '')} |"


def settings() -> str:
    """Return the page of the settings."""
    rows = "\n".join(
        f"| `{name}` | `BRAINNET_{name.upper()}` | {_type(field)} | {_default(field)} | {_meaning(field)} |"
        for name, field in Settings.model_fields.items()
    )
    return f"""# Settings

{NOTE}
A setting is read from these sources. Later sources win:

1. the default of the library
2. `config/settings.yaml`
3. `config/settings.ENV.yaml`, where ENV is the value of `BRAINNET_ENV`; by default `development`
4. the environment variable of the setting
5. the option of a command

`brainnet config show` prints each value and its source. `BRAINNET_CONFIG_DIR` names another folder than `config/`; it
must exist. An empty variable counts as none. [YAML and JSON](text.md) says how the files are read.

| setting | variable | type | default | meaning |
|---|---|---|---|---|
{rows}
"""


def allocation_file() -> str:
    """Return the page of the allocation file."""
    tables: list[tuple[str, str, type[BaseModel]]] = [
        ("The file", "The fields at the top of the file.", allocation.AllocationFile),
        ("hosts", "A map from the name of a host to these fields.", allocation.Host),
        ("defaults", "What holds for every node that does not say otherwise.", allocation.Defaults),
        ("nodes", "A list. Each entry has these fields.", NodeEntry),
        ("restart", "When a node that ended is started again.", Restart),
    ]
    parts = [
        "# Allocation file\n",
        NOTE,
        "An allocation file names the programs of a brain and places them on hosts. `brainnet validate FILE` checks it",
        "and names file, line and field of what is wrong. `brainnet launch FILE` starts it. Without FILE both use the",
        "setting `allocation`, or `config/node_allocation.yaml`.\n",
        "A path in the file is looked up in the folder of the file, in its parents up to the root of the project, in",
        "the current folder, and in the files that are installed with brainnet. `nodes/NAME.py` also finds",
        "`nodes/NAME/NAME.py`.\n",
        "Names of nodes and hosts, and the namespace, have at most 64 letters, digits, `_`, `-` and `.`, and are not",
        "only dots. CPUs and devices are checked on the host that runs the node. [YAML and JSON](text.md) says how the",
        "file is read.\n",
    ]
    return "\n".join([*parts, *_tables(tables)])


def _tables(tables: list[tuple[str, str, type[BaseModel]]]) -> Iterator[str]:
    """Yield a section with the fields of each part of a file."""
    for title, about, kind in tables:
        rows = "\n".join(
            f"| `{field.alias or name}` | {_type(field)} | {_default(field)} | {_meaning(field)} |"
            for name, field in kind.model_fields.items()
        )
        yield f"## {title}\n\n{about}\n\n| field | type | default | meaning |\n|---|---|---|---|\n{rows}\n"


def topics_file() -> str:
    """Return the page of a file with topics of a user's own."""
    tables: list[tuple[str, str, type[BaseModel]]] = [
        ("The file", "The fields at the top of the file.", ExtensionFile),
        ("topics", "A list. Each entry has these fields.", Topic),
        ("fields", "A map from the name of a field to these fields, or to the type alone.", DeclaredField),
        ("mailbox", "How many messages wait at a subscriber.", MailboxSpec),
    ]
    parts = [
        "# Topics file\n",
        NOTE,
        "An allocation names such a file in `topics:`; it adds topics to the contract.",
        "[Topics of your own](../how-to/topics-of-your-own.md) has an example. `brainnet validate` checks it with the",
        "allocation, and names file, line and field of what is wrong.\n",
    ]
    return "\n".join([*parts, *_tables(tables)])


def topics() -> str:
    """Return the page of the topics."""
    parts = [
        "# Topics\n",
        NOTE,
        "Every key is relative to the namespace, by default `evospikenet`. `{name}` stands for one chunk of the key.",
        "The contract is the file `topics/contract.yaml`. A process cannot publish or subscribe to a key that the",
        "contract does not list, or that it does not allow for the role of the process.\n",
        "A topic with a reply is asked with a Zenoh query. `brainnet topic list --contract` prints the contract.\n",
        "| topic | key | payload | header | reply |\n|---|---|---|---|---|",
    ]
    found = contract().topics
    parts += [
        f"| [{t.name}](#{t.name}) | `{t.key}` | {t.payload} | {t.header or ''} | {t.reply or ''} |" for t in found
    ]
    parts += ["", *(_topic(t) for t in found)]
    return "\n".join(parts)


def _topic(topic: Topic) -> str:
    full = {"drop_newest": "refuses the new message", "drop_oldest": "drops the oldest message", "block": "blocks"}
    asked_only = topic.payload == "none" or (topic.reply is not None and topic.name != "prompt")
    mailbox = f"| mailbox | {topic.mailbox.capacity} messages; a full one {full[topic.mailbox.overflow]} |\n"
    return (
        f"## {topic.name}\n\n{topic.about[0].upper()}{topic.about[1:]}.\n\n| | |\n|---|---|\n"
        f"| key | `{topic.key}` |\n| from | {', '.join(topic.publishers)} |\n| to | {', '.join(topic.subscribers)} |\n"
        f"| delivery | {topic.delivery.replace('_', ' ')}{', express' if topic.express else ''} |\n"
        f"| priority | {topic.priority.replace('_', ' ')} |\n{'' if asked_only else mailbox}"
    )


def _type(field: FieldInfo) -> str:
    return f"`{_spelled(field.annotation)}`".replace("|", "\\|")


def _spelled(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " | ".join(_spelled(one) for one in arguments if one is not type(None))
    if origin is tuple:
        return f"list of {_spelled(arguments[0])}"
    if origin is dict:
        return f"map to {_spelled(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "map"
    return {
        "str": "text",
        "int": "integer",
        "float": "number",
        "bool": "true or false",
        "Path": "path",
        "Any": "any value",
    }.get(getattr(kind, "__name__", str(kind)), str(kind))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is PydanticUndefined or field.default in (None, (), {}, ""):
        return ""
    if isinstance(field.default, BaseModel):
        return ""
    return f"`{field.default:g}`" if isinstance(field.default, float) else f"`{field.default}`"


def _meaning(field: FieldInfo) -> str:
    if not field.description:
        raise ValueError(f"a field of type {field.annotation} has no description")
    return _escaped(field.description)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def pages() -> dict[Path, str]:
    """Return every page that follows from the code, by its path."""
    return {
        PAGES / "command-line.md": command_line(),
        PAGES / "settings.md": settings(),
        PAGES / "allocation.md": allocation_file(),
        PAGES / "topics.md": topics(),
        PAGES / "topics-file.md": topics_file(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
        print(f"wrote {path.relative_to(ROOT)}")
