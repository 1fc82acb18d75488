"""`brainnet topic hz`, `bw` and `delay`: rate, bandwidth and delay of the messages on a key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainnet.cli import common, output
from brainnet.cli.topic.options import CountOption, DurationOption, KeyArgument, TopicsOption

if TYPE_CHECKING:
    from brainnet.observe.series import Series

_REPORT_EVERY_S = 1.0


@common.takes_brain()
def hz(
    brain: common.BrainOptions,
    key: KeyArgument,
    count: CountOption = None,
    duration: DurationOption = None,
    topics: TopicsOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Measure how often each source sends on a key, by its sequence numbers and the times of arrival.

    Reports once a second, or once at the end with --count or --duration.

    Example: brainnet topic hz motor/feedback/arm --duration 5
    """
    _measure(brain, key, count, duration, topics, as_json, _hz_row, _hz_line)


@common.takes_brain()
def bw(
    brain: common.BrainOptions,
    key: KeyArgument,
    count: CountOption = None,
    duration: DurationOption = None,
    topics: TopicsOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Measure the payload bytes per second that each source sends on a key.

    Reports once a second, or once at the end with --count or --duration.

    Example: brainnet topic bw 'spikes/**' --duration 5
    """
    _measure(brain, key, count, duration, topics, as_json, _bw_row, _bw_line)


@common.takes_brain()
def delay(
    brain: common.BrainOptions,
    key: KeyArgument,
    count: CountOption = None,
    duration: DurationOption = None,
    topics: TopicsOption = None,
    as_json: common.JsonOption = False,
) -> None:
    """Measure the time from a message's timestamp to its arrival here; across hosts it needs synchronised clocks.

    A timestamp that is later than the arrival, or more than ten minutes before it, is reported as a clock difference.

    Reports once a second, or once at the end with --count or --duration.

    Example: brainnet topic delay motor/feedback/arm --count 100
    """
    _measure(brain, key, count, duration, topics, as_json, _delay_row, _delay_line)


def _measure(
    brain: common.BrainOptions,
    key: str,
    count: int | None,
    duration: float | None,
    topics: list[Path] | None,
    as_json: bool,
    row: Callable[[Series], dict[str, Any]],
    line: Callable[[dict[str, Any]], str],
) -> None:
    from brainnet.cli.topic import listening
    from brainnet.observe.series import Collection

    settings = brain.settings()
    collection = Collection(settings.namespace)

    def report() -> None:
        for series in collection.series.values():
            if as_json:
                output.print_json(row(series))
            else:
                output.line(line(row(series)))

    bounded = count is not None or duration is not None
    with output.endless():
        try:
            losses = common.run_async(
                listening.listen(
                    settings,
                    key,
                    collection,
                    topics=topics,
                    count=count,
                    duration=duration,
                    every=None if bounded else _REPORT_EVERY_S,
                    on_tick=report,
                )
            )
        finally:
            if bounded:
                report()
    listening.check_count(losses, count)


def _hz_row(series: Series) -> dict[str, Any]:
    return series.counts() | {
        "rate_hz": series.rate_hz,
        "interval_min_s": series.intervals.low,
        "interval_max_s": series.intervals.high,
        "interval_std_s": series.intervals.deviation,
    }


def _hz_line(row: dict[str, Any]) -> str:
    return (
        f"{_series_name(row)}: {_number(row['rate_hz'])} Hz, interval min {_number(row['interval_min_s'])} s "
        f"max {_number(row['interval_max_s'])} s std {_number(row['interval_std_s'])} s; {_counts(row)}"
    )


def _bw_row(series: Series) -> dict[str, Any]:
    rate, size = series.rate_hz, series.sizes.mean
    return series.counts() | {
        "bytes_per_s": None if rate is None or size is None else rate * size,
        "size_min": series.sizes.low,
        "size_mean": size,
        "size_max": series.sizes.high,
    }


def _bw_line(row: dict[str, Any]) -> str:
    return (
        f"{_series_name(row)}: {_number(row['bytes_per_s'])} B/s, message min {_number(row['size_min'])} B "
        f"mean {_number(row['size_mean'])} B max {_number(row['size_max'])} B; {_counts(row)}"
    )


def _delay_row(series: Series) -> dict[str, Any]:
    delays = series.delays
    return series.counts() | {
        "delay_mean_ms": delays.mean,
        "delay_min_ms": delays.low,
        "delay_max_ms": delays.high,
        "delay_std_ms": delays.deviation,
        "clock_difference_ms": series.clock_difference_ms,
    }


def _delay_line(row: dict[str, Any]) -> str:
    parts = []
    if row["delay_mean_ms"] is not None:
        parts.append(
            f"mean {_number(row['delay_mean_ms'])} ms min {_number(row['delay_min_ms'])} ms "
            f"max {_number(row['delay_max_ms'])} ms std {_number(row['delay_std_ms'])} ms"
        )
    if row["clock_difference_ms"] is not None:
        seconds = row["clock_difference_ms"] / 1000
        parts.append(f"its clock is {abs(seconds):.6g} s {'behind' if seconds > 0 else 'ahead of'} this host's")
    return f"{_series_name(row)}: {', '.join(parts) or 'its messages carry no timestamp'}; {_counts(row)}"


def _series_name(row: dict[str, Any]) -> str:
    return f"{row['key']} from {row['source']}" if row["source"] else row["key"]


def _counts(row: dict[str, Any]) -> str:
    if row["sent"] is None:
        return f"seen {row['seen']}, not numbered by the sender"
    return f"sent {row['sent']}, seen {row['seen']}, missing {row['missing']}"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"
