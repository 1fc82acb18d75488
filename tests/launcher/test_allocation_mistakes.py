"""What is said of each mistake in an allocation file."""

from __future__ import annotations

from pathlib import Path

import pytest

from brainnet.errors import AllocationError
from tests.launcher.allocations import parsed

MISTAKES = {
    "no nodes": ("version: 1", 1, ["nodes", "at least one node", "connectome: FILE"]),
    "empty": ("", None, ["version and nodes"]),
    "not YAML": ("version: 1\nnodes: [", 3, ["not YAML"]),
    "newer version": ("version: 2\nnodes:\n  - {id: a, program: ECHO}", 1, ["version", "1", "got 2"]),
    "key twice": ("version: 1\nport: 1\nport: 2", 3, ["port", "line 2"]),
    "misspelled field": (
        "version: 1\nnodes:\n  - id: a\n    progam: ECHO",
        4,
        ["nodes[0].progam", "did you mean program?", "checkpoint"],
    ),
    "misspelled top field": ("version: 1\nnods: []", 2, ["nods", "did you mean nodes?"]),
    "same id": (
        "version: 1\nnodes:\n  - {id: a, program: ECHO}\n  - {id: a, program: ECHO}",
        4,
        ["nodes[1].id", "'a'", "line 3"],
    ),
    "id with a blank": ("version: 1\nnodes:\n  - {id: a b, program: ECHO}", 3, ["nodes[0].id", "letters", "'a b'"]),
    "unknown program": (
        "version: 1\nnodes:\n  - id: a\n    program: nodes/nowhere.py",
        4,
        ["nodes/nowhere.py does not exist", "looked in"],
    ),
    "unknown module": (
        "version: 1\nnodes:\n  - id: a\n    program: no_such_module:Olfactory",
        4,
        ["no_such_module", "entry point of brainnet.nodes"],
    ),
    "missing checkpoint": (
        "version: 1\nnodes:\n  - id: a\n    program: ECHO\n    checkpoint: w.safetensors",
        5,
        ["nodes[0].checkpoint", "w.safetensors does not exist"],
    ),
    "host without hosts": ("version: 1\nnodes:\n  - {id: a, program: ECHO, host: b}", 3, ["'b'", "no `hosts:`"]),
    "unknown host": (
        "version: 1\nhosts: {board: {}, desk: {}}\nnodes:\n  - {id: a, program: ECHO, host: bord}",
        4,
        ["did you mean board?", "board, desk"],
    ),
    "no host of several": (
        "version: 1\nhosts: {board: {}, desk: {}}\nnodes:\n  - {id: a, program: ECHO}",
        4,
        ["nodes[0].host", "board, desk"],
    ),
    "policy": (
        "version: 1\nnodes:\n  - id: a\n    program: ECHO\n    restart:\n      policy: sometimes",
        6,
        ["nodes[0].restart.policy", "'always', 'on-failure' or 'never'", "'sometimes'"],
    ),
    "field of restart": (
        "version: 1\ndefaults:\n  restart: {backoff: 1}\nnodes:\n  - {id: a, program: ECHO}",
        3,
        ["did you mean backoff_s?"],
    ),
    "device": ("version: 1\nnodes:\n  - {id: a, program: ECHO, device: gpu}", 3, ["cpu, cuda or cuda:N", "'gpu'"]),
    "threads": ("version: 1\nnodes:\n  - {id: a, program: ECHO, threads: 0}", 3, ["nodes[0].threads", "got 0"]),
    "id too long": (
        f"version: 1\nnodes:\n  - {{id: {'a' * 65}, program: ECHO}}",
        3,
        ["nodes[0].id", "at most 64"],
    ),
    "id of dots": ("version: 1\nnodes:\n  - {id: .., program: ECHO}", 3, ["nodes[0].id", "not only dots", "'..'"]),
    "id of the launcher": ("version: 1\nnodes:\n  - {id: launcher, program: ECHO}", 3, ["nodes[0].id", "launcher"]),
    "namespace": ("version: 1\nnamespace: a/b\nnodes:\n  - {id: a, program: ECHO}", 2, ["namespace", "'a/b'"]),
    "name of a host": (
        "version: 1\nhosts:\n  my host: {}\nnodes:\n  - {id: a, program: ECHO}",
        3,
        ["hosts.my host", "letters", "'my host'"],
    ),
    "endpoint without a protocol": (
        "version: 1\nhosts:\n  desk:\n    listen:\n      - 10.0.0.1:7447\nnodes:\n  - {id: a, program: ECHO}",
        5,
        ["hosts.desk.listen[0]", "tcp/192.168.1.20:7447", "'10.0.0.1:7447'"],
    ),
    "unknown protocol": (
        "version: 1\nhosts: {desk: {connect: [tpc/10.0.0.1:7447]}}\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["hosts.desk.connect[0]", "'tpc'", "tcp, udp, tls, quic"],
    ),
    "port of an endpoint": (
        "version: 1\nhosts: {desk: {listen: [tcp/10.0.0.1:99999]}}\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["hosts.desk.listen[0]", "between 0 and 65535"],
    ),
    "endpoint without a port": (
        "version: 1\nhosts: {desk: {connect: [udp/board.local]}}\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["hosts.desk.connect[0]", "no port"],
    ),
    "address of an endpoint": (
        "version: 1\nhosts: {desk: {connect: [tcp/10.0.0.300:7447]}}\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["hosts.desk.connect[0]", "'10.0.0.300'"],
    ),
    "metadata that end a process": (
        "version: 1\nhosts: {desk: {listen: ['tcp/10.0.0.1:7447?rel=yes']}}\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["hosts.desk.listen[0]", "rel=0"],
    ),
    "encryption without a certificate": (
        "version: 1\nhosts: {desk: {listen: [tls/10.0.0.1:7447]}}\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["hosts.desk.listen[0]", "listen_certificate_file"],
    ),
    "connect to every address": (
        "version: 1\nhosts: {desk: {connect: [tcp/0.0.0.0:7447]}}\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["hosts.desk.connect[0]", "no single program"],
    ),
    "two hosts at one endpoint": (
        "version: 1\nhosts:\n  a: {listen: [tcp/10.0.0.1:7447]}\n  b: {listen: [ws/10.0.0.1:7447]}\n"
        "nodes:\n  - {id: a, program: ECHO, host: a}",
        4,
        ["hosts.b.listen[0]", "already listened on by a"],
    ),
    "one host twice at a port": (
        "version: 1\nhosts:\n  a:\n    listen:\n      - tcp/0.0.0.0:7500\n      - tcp/10.0.0.1:7500\n"
        "nodes:\n  - {id: a, program: ECHO}",
        6,
        ["hosts.a.listen[1]", "line 5"],
    ),
    "name of a variable": (
        'version: 1\nnodes:\n  - {id: a, program: ECHO, environment: {"A=B": x}}',
        3,
        ["nodes[0].environment.A=B", "'='"],
    ),
    "value of a variable": (
        'version: 1\ndefaults:\n  environment: {A: "x\\0y"}\nnodes:\n  - {id: a, program: ECHO}',
        3,
        ["defaults.environment.A", "NUL"],
    ),
    "long variable": (
        f"version: 1\nnodes:\n  - {{id: a, program: ECHO, environment: {{A: {'x' * 40_000}}}}}",
        3,
        ["nodes[0].environment.A", "32768"],
    ),
    "parameters too large": (
        f"version: 1\nnodes:\n  - {{id: a, program: ECHO, parameters: {{prefix: {'x' * 300_000}}}}}",
        3,
        ["nodes[0]", "bytes as JSON", "into a file"],
    ),
    "variables too large": (
        "version: 1\ndefaults:\n  environment: {"
        + ", ".join(f"V{n}: {'x' * 30_000}" for n in range(9))
        + "}\nnodes:\n  - {id: a, program: ECHO}",
        5,
        ["nodes[0]", "bytes as JSON"],
    ),
    "bytes": (
        "version: 1\nnodes:\n  - {id: a, program: ECHO, parameters: {prefix: !!binary aGk=}}",
        3,
        ["bytes", "cannot stand here"],
    ),
    "a set": (
        "version: 1\nnodes:\n  - {id: a, program: ECHO, parameters: {prefix: !!set {x}}}",
        3,
        ["!!set"],
    ),
    "not a number": (
        "version: 1\nnodes:\n  - {id: a, program: ECHO, parameters: {gain: .nan}}",
        3,
        ["not a finite number"],
    ),
    "endless window": (
        "version: 1\ndefaults: {restart: {window_s: .inf}}\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["not a finite number"],
    ),
    "backoff of a year": (
        "version: 1\ndefaults: {restart: {backoff_s: 1e9}}\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["defaults.restart.backoff_s", "3600"],
    ),
    "itself": (
        "version: 1\nnodes: &n\n  - {id: a, program: ECHO, parameters: {x: *n}}",
        3,
        ["inside what it names"],
    ),
    "module to preload": (
        "version: 1\npreload:\n  - json\n  - no_such_library.part\nnodes:\n  - {id: a, program: ECHO}",
        4,
        ["preload[1]", "no_such_library", "install"],
    ),
    "text to preload": (
        "version: 1\npreload: [import json]\nnodes:\n  - {id: a, program: ECHO}",
        2,
        ["preload[0]", "no name of a module"],
    ),
    "line break in a program": (
        'version: 1\nnodes:\n  - {id: a, program: "x\\ny.py"}',
        3,
        ["nodes[0].program", "one line"],
    ),
    "negative CPU": (
        "version: 1\nnodes:\n  - {id: a, program: ECHO, cpu_affinity: [-1]}",
        3,
        ["nodes[0].cpu_affinity[0]", "got -1"],
    ),
    "port": ("version: 1\nport: 99999\nnodes:\n  - {id: a, program: ECHO}", 2, ["port", "65535", "99999"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_place(tmp_path: Path, name: str) -> None:
    text, line, said = MISTAKES[name]
    with pytest.raises(AllocationError) as caught:
        parsed(tmp_path, text)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "allocation.yaml") in message
    if line is not None:
        assert f"line {line}" in message
    for part in said:
        assert part in message
