"""`brainnet clock`: the clocks of a network that runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common, output

if TYPE_CHECKING:
    from brainnet.bus import Bus
    from brainnet.settings import Settings
    from brainnet.wire.messages import ClockState

app = common.verb("Show how far a running network is; pause, step and resume it.", no_args_is_help=True)


@app.command()
@common.takes_brain()
def status(brain: common.BrainOptions, as_json: common.JsonOption = False) -> None:
    """Show how far every process of the network is, how fast, and whom it waits for.

    In real time it also shows how long after their end the windows of each source came, how many of them came after
    they were needed, and how many windows a process itself was too slow for.

    Example: brainnet clock status
    """
    from brainnet.client.clocks import clock_states

    _show(brain, clock_states, as_json)


@app.command()
@common.takes_brain()
def pause(brain: common.BrainOptions, as_json: common.JsonOption = False) -> None:
    """Stop all processes at the same step, and wait until they stand there.

    What is between them is not lost: `brainnet clock resume` goes on as if nothing had happened.

    Example: brainnet clock pause
    """
    from brainnet.client.clocks import pause

    _show(brain, pause, as_json)


@app.command()
@common.takes_brain()
def step(
    brain: common.BrainOptions,
    steps: Annotated[int, typer.Argument(min=1, metavar="STEPS", help="How many.")] = 1,
    as_json: common.JsonOption = False,
) -> None:
    """Compute some steps in all processes, and pause again.

    Example: brainnet clock step 100
    """
    from brainnet.client.clocks import step

    _show(brain, lambda bus: step(bus, steps), as_json)


@app.command()
@common.takes_brain()
def resume(brain: common.BrainOptions, as_json: common.JsonOption = False) -> None:
    """Let all processes go on.

    Example: brainnet clock resume
    """
    from brainnet.client.clocks import resume

    _show(brain, resume, as_json)


@app.command()
@common.takes_brain()
def rate(
    brain: common.BrainOptions,
    scale: Annotated[
        float, typer.Argument(min=0.001, max=1000.0, metavar="SCALE", help="2: half as fast as the clock on the wall.")
    ],
    as_json: common.JsonOption = False,
) -> None:
    """Set how fast a network in real time runs.

    Example: brainnet clock rate 2
    """
    from brainnet.client.clocks import set_rate

    _show(brain, lambda bus: set_rate(bus, scale), as_json)


def _show(brain: common.BrainOptions, do: Callable[[Bus], Awaitable[list[ClockState]]], as_json: bool) -> None:
    async def ask(settings: Settings) -> list[ClockState]:
        async with await common.connect(settings) as bus:
            return await do(bus)

    states = common.run_async(ask(brain.settings()))
    if as_json:
        for state in states:
            output.print_json(state)
        return
    in_real_time = any(state.mode == "realtime" for state in states)
    last = ["too slow"] if in_real_time else ["sent again", "waits for"]
    output.table(
        ["process", "clock", *(output.Column(t, right=True) for t in ("step", "time s", "times real time")), *last],
        [
            (
                state.process,
                state.phase,
                f"{state.next_step:,}",
                f"{state.next_step * state.dt_ms / 1000:.3f}",
                f"{state.real_time_factor:.2f}" if state.phase == "running" else "",
                *([str(state.overruns)] if in_real_time else [str(state.resent), _waiting(state)]),
            )
            for state in states
        ],
    )
    if not in_real_time:
        return
    output.line()
    titles = ("windows", "late", "missed", "p50 ms", "p99 ms", "longest ms", "allowed ms")
    output.table(
        ["process", "source", *(output.Column(title, right=True) for title in titles)],
        [
            (
                state.process,
                late.source,
                *(f"{count:,}" for count in (late.windows, late.late, late.missed)),
                *(f"{ms:.2f}" for ms in (late.p50_ms, late.p99_ms, late.longest_ms, late.allowed_ms)),
            )
            for state in states
            for late in state.lateness
        ],
    )


def _waiting(state: ClockState) -> str:
    return ", ".join(state.waits_for) + (f" ({state.reason})" if state.reason else "")
