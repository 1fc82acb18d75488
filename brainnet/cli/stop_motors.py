"""`brainnet stop-motors`: stop everything that moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common, output

if TYPE_CHECKING:
    from brainnet.wire.messages import EffectorState

app = common.verb()


@app.command()
@common.takes_brain()
def stop_motors(
    brain: common.BrainOptions,
    effectors: Annotated[
        list[str] | None, typer.Argument(metavar="[EFFECTOR]...", help="Which effectors; all by default.")
    ] = None,
    release: Annotated[bool, typer.Option("--release", help="Let stopped effectors follow commands again.")] = False,
    hold: Annotated[
        float | None,
        typer.Option(
            "--hold", metavar="SECONDS", min=0.0, help="Release them after this time; without it they stay stopped."
        ),
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Shown by the effectors and in their logs.")] = "",
    as_json: common.JsonOption = False,
) -> None:
    """Stop all effectors of the brain at once: they brake, and follow no command until they are released.

    The exit status is 1 when an effector that was meant does not say that it is stopped.

    Example: brainnet stop-motors

    Example: brainnet stop-motors arm --hold 5

    Example: brainnet stop-motors --release
    """
    from brainnet.errors import LaunchError
    from brainnet.settings import Settings

    async def send(settings: Settings) -> list[EffectorState]:
        from brainnet.effectors.stopping import stop_effectors
        from brainnet.wire.messages import MotorStop

        stop = MotorStop(
            effectors=effectors or [], release=release, hold_s=None if release else hold, reason=reason or "stop-motors"
        )
        async with await common.connect(settings) as bus:
            return await stop_effectors(bus, stop)

    states = common.run_async(send(brain.settings()))
    if as_json:
        for state in states:
            output.print_json(state.model_dump(mode="json"))
    else:
        output.table(
            ["effector", "node", "state"], [(state.effector, state.node_id, _described(state)) for state in states]
        )
    missing = sorted(set(effectors or []) - {state.effector for state in states})
    wrong = [state.effector for state in states if state.stopped == release]
    if missing:
        raise LaunchError(f"no effector {', '.join(missing)} replies")
    if wrong:
        raise LaunchError(f"{', '.join(wrong)} did not {'start to follow commands again' if release else 'stop'}")


def _described(state: EffectorState) -> str:
    if not state.stopped:
        return "follows commands"
    until = "until it is released" if state.hold_s is None else f"for {state.hold_s:.1f} s"
    return f"stopped {until} ({state.stopped_because})"
