"""`brainnet simulate`: the same spikes whatever the window, and one clear error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TWO = """\
version: 1
seed: 7
populations:
  - {id: a, model: lif, size: 40, parameters: {noise: {rate_hz: 1000, weight: 900}}}
  - {id: b, model: lif, size: 40, parameters: {noise: {rate_hz: 1000, weight: 900}}}
projections:
  - {from: a, to: b, synapses: {connect: fixed_probability, p: 0.3, weight: 60, delay_ms: 5}}
  - from: b
    to: a
    synapses: {connect: fixed_probability, p: 0.3, weight: {normal: [60, 10]}, delay_ms: 5}
    plasticity: {rule: stdp, potentiation: 0.5, depression: 0.6, w_max: 200}
"""


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "two.yaml"
    path.write_text(TWO)
    return path


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "brainnet", "simulate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_digest_depends_on_the_seed_and_not_on_the_window(network: Path) -> None:
    runs = [simulate(network, "--steps", 300, "--digest", "--json", *more) for more in ((), ("--window", 2))]
    ends = [json.loads(done.stdout.splitlines()[-1]) for done in runs]
    assert [end["steps"] for end in ends] == [300, 300]
    assert ends[0]["digest"] == ends[1]["digest"]
    assert len(ends[0]["digest"]) == 64
    rows = [json.loads(line) for line in runs[0].stdout.splitlines()[:-1]]
    assert [row["population"] for row in rows] == ["a", "b"]
    assert all(row["spikes"] > 0 for row in rows)
    other = simulate(network, "--duration-ms", 300, "--digest", "--seed", 8)
    assert other.returncode == 0, other.stderr
    assert "digest " in other.stdout
    assert ends[0]["digest"] not in other.stdout


def test_what_is_skipped_counts_in_the_digest_alone(network: Path) -> None:
    runs = [
        [json.loads(line) for line in simulate(network, *arguments, "--digest", "--json").stdout.splitlines()]
        for arguments in (["--steps", 300], ["--steps", 300, "--skip-ms", 130, "--window", 7], ["--steps", 130])
    ]
    whole, rest, beginning = runs
    assert rest[-1]["digest"] == whole[-1]["digest"]
    assert rest[-1]["skipped_steps"] == 130
    for of_whole, of_rest, of_beginning in zip(whole[:-1], rest[:-1], beginning[:-1], strict=True):
        assert of_rest["spikes"] == of_whole["spikes"] - of_beginning["spikes"]
        assert of_rest["rate_hz"] == pytest.approx(of_rest["spikes"] / 40 / 0.170)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["missing.yaml", "--steps", "1"], "missing.yaml does not exist"),
        (["two.yaml"], "--duration-ms"),
        (["two.yaml", "--steps", "1", "--duration-ms", "1"], "--duration-ms"),
        (["two.yaml", "--steps", "5", "--skip-ms", "5"], "--skip-ms"),
    ],
)
def test_a_mistake_is_one_error(network: Path, arguments: list[str], text: str) -> None:
    arguments = [str(network) if argument == network.name else argument for argument in arguments]
    done = simulate(*arguments)
    assert done.returncode != 0
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
