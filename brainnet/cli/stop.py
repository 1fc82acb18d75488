"""`brainnet stop`: end this host's part of a brain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from brainnet.cli import common, output

if TYPE_CHECKING:
    from brainnet.settings import Settings

app = common.verb()
_MARGIN_S = 5.0
"""Seconds that an orderly stop may take beyond the three grace periods of its signals."""


@app.command()
@common.takes_brain()
def stop(
    brain: common.BrainOptions,
    host: Annotated[str | None, typer.Option("--host", help="Stop another host's part of the brain.")] = None,
) -> None:
    """Stop this host's part of the brain, and return when nothing of it is left.

    A frozen launcher is stopped, too, and so is what a launcher that was killed has left.

    Example: brainnet stop --port 7500
    """
    from brainnet.launcher.run import lock

    settings = brain.settings()
    # By signal where the launcher runs on this host: it works also when its hub does not answer.
    running = None if settings.hub else lock.current_holder(settings.state)
    if running is not None and host in (None, running.host):
        from brainnet.launcher.run.stopping import stop_local_launcher

        stop_local_launcher(running, settings.state, settings.stop_grace_s * 3 + _MARGIN_S)
        output.note(f"stopped {running.namespace} on {running.host}")
        return
    if running is None and not settings.hub and host in (None, settings.host):
        from brainnet.launcher.run.orphans import end_orphans

        if ended := end_orphans(settings.state):
            output.note(f"ended what an earlier launcher has left: {', '.join(map(str, ended))}")
            return
    output.note(f"stopped {common.run_async(_stop_over_bus(settings, host))}")


async def _stop_over_bus(settings: Settings, host: str | None) -> str:
    import asyncio
    import time

    from brainnet.client import host_statuses
    from brainnet.errors import LaunchError
    from brainnet.wire.keys import key
    from brainnet.wire.messages import ControlQuery

    async with await common.connect(settings) as bus:
        hosts = {status.host for status in await host_statuses(bus)}
        if host is None and len(hosts) == 1:
            (host,) = hosts
        if host not in hosts:
            listed = ", ".join(sorted(hosts))
            raise LaunchError(f"say which host to stop with --host; the brain runs on {listed}")
        await bus.call(key("host_control", host=host), ControlQuery(action="stop"))
        deadline = time.monotonic() + settings.stop_grace_s * 3 + _MARGIN_S
        while time.monotonic() < deadline:
            if host not in {s.host for s in await host_statuses(bus, needed=False)}:
                return f"{settings.namespace} on {host}"
            await asyncio.sleep(0.1)
    raise LaunchError(f"host {host} was asked to stop and still replies")
