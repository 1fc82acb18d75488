"""`brainnet chaos`: short real runs against a small brain, in each of which every prompt gets its one answer."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from brainnet.testing import PATIENCE_S, wait_until
from brainnet.testing.chaos import FAULTS, Report
from tests.support import Brain, node, write_allocation


def run(home: Brain, *arguments: str | Path) -> Report:
    """Run it to its end; the exit status must be that of the report, and nothing may be left."""
    done = home.run("chaos", *map(str, arguments), "--seed", "3", "--json", check=False)
    assert done.stdout, done.stderr
    (line,) = done.stdout.splitlines()
    fields = json.loads(line)
    report = Report.model_validate(fields)
    assert fields["ok"] == report.ok
    assert done.returncode == (0 if report.ok else 1), done.stderr
    check_sums(report)
    assert report.wrong == [], "every prompt gets exactly one answer, whatever is done to the brain"
    assert (report.total.lost, report.total.duplicated) == (0, 0)
    home.wait_gone()
    return report


def check_sums(report: Report) -> None:
    for tally in (report.total, *report.by_fault.values(), *report.by_channel.values()):
        assert tally.sent == tally.answered + tally.refused + tally.failed + tally.lost + tally.open
    assert sum(tally.sent for tally in report.by_channel.values()) == report.total.sent
    assert set(report.by_fault) <= set(report.faults)


def test_processes_that_are_killed_come_back_and_are_timed(home: Brain, answering: Path) -> None:
    report = run(home, answering, "--faults", "kill", "--duration", "4", "--rate", "10")
    assert report.by_fault["kill"].sent > 0
    killed = {r.victim: r for r in report.recovery}
    assert set(killed) <= {"prefrontal", "memory_integrator", "right", "zygote"}
    assert sum(r.times for r in report.recovery) == report.injected["kill"] >= 1
    for recovery in report.recovery:
        assert recovery.unrecovered == 0
        assert recovery.ready_s.count == recovery.times
        assert recovery.ready_s.p99 is not None
        assert recovery.ready_s.p99 > 0


def test_a_process_that_is_stopped_is_noticed(home: Brain, answering: Path) -> None:
    report = run(home, answering, "--faults", "stop", "--duration", "1")
    (recovery,) = report.recovery
    assert (recovery.fault, recovery.times) == ("stop", 1)
    assert recovery.detected_s.count + recovery.unnoticed == 1


def test_an_overload_is_measured_and_most_of_it_refused(home: Brain, tmp_path: Path) -> None:
    path = write_allocation(
        tmp_path / "slow.yaml",
        node("prefrontal", "nodes/prefrontal/prefrontal.py"),
        node("memory_integrator", "nodes/memory_integrator/memory_integrator.py"),
        node("right", "Answers", parameters={"delay_s": 0.02}),
    )
    flood = run(home, path, "--faults", "flood", "--duration", "2", "--deadline", "2").flood
    assert flood is not None
    assert 0 < flood.capacity_per_s <= 51
    assert flood.offered_per_s > flood.capacity_per_s
    assert flood.status_ms.count + flood.status_failed > 0


def test_garbage_is_counted_by_its_sort(home: Brain, answering: Path) -> None:
    report = run(home, answering, "--faults", "garbage", "--duration", "1", "--deadline", "2")
    assert sum(count for name, count in report.injected.items() if name.startswith("garbage")) >= 10


def test_slow_processes_and_a_bad_disk_one_after_the_other(home: Brain, answering: Path) -> None:
    report = run(home, answering, "--faults", "slow,disk", "--duration", "2", "--deadline", "3", "--rate", "3")
    assert list(report.by_fault) == ["slow", "disk"]
    assert report.injected["journal locked"] >= 1 or any("journal" in reason for reason in report.skipped)
    assert report.injected.get("disk full", 0) + report.injected.get("size of files limited", 0) >= 1


def test_ctrl_c_ends_it_with_what_was_found(home: Brain, answering: Path) -> None:
    command = home.start("chaos", str(answering), "--faults", "kill", "--duration", "600", "--json")
    wait_until("the brain", lambda: "right" in home.processes().values())
    before = {pid for pid, name in home.processes().items() if name == "right"}
    wait_until("a kill", lambda: {p for p, n in home.processes().items() if n == "right"} - before)
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=PATIENCE_S)
    report = Report.model_validate_json(out)
    assert report.interrupted
    assert report.injected["kill"] >= 1
    check_sums(report)
    assert command.returncode == (130 if report.ok else 1), err
    home.wait_gone()


def test_a_run_that_is_killed_leaves_no_process(home: Brain, answering: Path) -> None:
    command = home.start("chaos", str(answering), "--faults", "kill", "--duration", "600")
    wait_until("the brain", lambda: "right" in home.processes().values())
    command.kill()
    home.wait_gone()


def test_a_brain_that_runs_can_be_attacked_and_runs_on(home: Brain, answering: Path) -> None:
    home.launch(answering)
    done = home.run("chaos", "--attach", "--faults", "kill", "--duration", "1", "--json", check=False)
    report = Report.model_validate_json(done.stdout)
    assert report.injected["kill"] >= 1
    for id in ("prefrontal", "memory_integrator", "right"):
        home.wait_state(id, "ready")
    home.run("stop")


def test_the_tables_say_what_was_found(home: Brain, answering: Path) -> None:
    done = home.run("chaos", str(answering), "--faults", "kill", "--duration", "1", check=False)
    for word in ("prompts", "lost", "recovery", "ready p50 s", "done: kill"):
        assert word in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--faults", "kill,earthquake"], ["earthquake", *FAULTS]),
        (["--attach"], ["no brain runs"]),
        (["missing.yaml", "--faults", "kill"], ["missing.yaml"]),
        (["some.yaml", "--attach"], ["--attach"]),
    ],
)
def test_a_mistake_is_one_error(home: Brain, arguments: list[str], texts: list[str]) -> None:
    done = home.run("chaos", *arguments, check=False)
    assert done.returncode != 0
    for text in texts:
        assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert home.processes() == {}


def test_nothing_heavy_is_loaded_by_the_command() -> None:
    code = "import sys, brainnet.testing.chaos; print(*sorted({'torch', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
