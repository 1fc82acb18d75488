"""The log of modulators: what was told is there, once, until a saved state has it."""

from __future__ import annotations

from pathlib import Path

from brainnet.streams.modulation_log import ModulationLog, Told


def test_what_was_told_is_there_until_a_saved_state_has_it(tmp_path: Path) -> None:
    path = tmp_path / "a.modulators"
    log = ModulationLog(path, "run")
    assert log.load(0) == []
    for number in range(1, 5):
        log.add("reward", 10 * number, 0.5)
    again = ModulationLog(path, "run")
    assert again.load(0) == [Told(n, "reward", 10 * n, 0.5) for n in range(1, 5)]
    again.forget(2)
    assert [told.number for told in ModulationLog(path, "run").load(0)] == [3, 4]
    assert [told.number for told in ModulationLog(path, "run").load(3)] == [4]
    again.add("reward", 50, 1.0)
    assert again.number == 5
    again.forget(5)
    assert not path.exists()


def test_values_of_another_run_and_broken_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.modulators"
    ModulationLog(path, "before").add("reward", 1, 1.0)
    with path.open("a") as file:
        file.write('["run", 1, "reward"\n[]\n7\n')
    log = ModulationLog(path, "run")
    log.add("reward", 2, 2.0)
    assert ModulationLog(path, "run").load(0) == [Told(1, "reward", 2, 2.0)]
