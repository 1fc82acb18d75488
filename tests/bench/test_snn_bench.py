"""The benchmark of neurons: what its rows say. Its timings are for people to read."""

from __future__ import annotations

import pytest

from brainnet.bench import snn
from brainnet.bench.snn import Plan, measure


def test_rows_hold_agreement_ratios_and_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = ((4, 1, 8), (4, 2, 8), (5, 2, 8))
    bars = {("forward", shapes[0], "snntorch loop"): 1e-9}
    monkeypatch.setattr(snn, "SHAPES", shapes)
    monkeypatch.setattr(snn, "BARS", bars)
    told: list[str] = []
    rows = measure(Plan(rounds=1, share_s=0.01), told.append)
    by_name = {row.name: row for row in rows}
    for size in ("4x1x8", "4x2x8", "5x2x8"):
        assert by_name[f"lif_spikes_differing_{size}_to_snntorch"].value == 0
        assert by_name[f"lif_gradient_error_{size}_to_snntorch"].ok
    timed = [row for row in rows if row.name.startswith("lif_forward")]
    assert {row.name for row in timed} >= {"lif_forward_4x1x8", "lif_forward_backward_5x2x8"}
    for row in timed:
        assert row.value > 0
        assert row.rival is not None
        if row.rival_value is None:
            assert (row.ratio, row.ok) == (None, None)
            assert "not installed" in row.rival
        else:
            assert row.ratio == pytest.approx(row.value / row.rival_value)
    barred = next(row for row in timed if row.bar)
    assert (barred.name, barred.rival, barred.ok) == ("lif_forward_4x1x8", "snntorch loop", True)
    assert "forward at 4x1x8" in told
