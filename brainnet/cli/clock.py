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


def _show(brain: common.BrainOptions, do: Callable[[Bus], Awaitable[list[ClockState]]], as_json: bool) -> None:
    async def ask(settings: Settings) -> list[ClockState]:
        async with await common.connect(settings) as bus:
            return await do(bus)

    states = common.run_async(ask(brain.settings()))
    if as_json:
        for state in states:
            output.print_json(state)
        return
    output.table(
        [
            "process",
            "clock",
            output.Column("step", right=True),
            output.Column("time s", right=True),
            output.Column("times real time", right=True),
            output.Column("sent again", right=True),
            "waits for",
        ],
        [
            (
                state.process,
                state.phase,
                f"{state.next_step:,}",
                f"{state.next_step * state.dt_ms / 1000:.3f}",
                f"{state.real_time_factor:.2f}" if state.phase == "running" else "",
                str(state.resent),
                ", ".join(state.waits_for) + (f" ({state.reason})" if state.reason else ""),
            )
            for state in states
        ],
    )
