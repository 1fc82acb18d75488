"""`brainnet status`: every node of the brain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainnet.cli import common

if TYPE_CHECKING:
    from brainnet.settings import Settings
    from brainnet.wire.messages import HostStatus

app = common.verb()


@app.command()
@common.takes_brain()
def status(
    brain: common.BrainOptions,
    as_json: common.JsonOption = False,
) -> None:
    """Show every node of the brain, on all hosts: state, process, memory, restarts.

    With --json, one node a line: id, program, host, state, pid, restarts, exit_code, memory_bytes (proportional set
    size), uptime_s, ready_s, reason.

    Example: brainnet status --json
    """
    settings = brain.settings()
    hosts = common.run_async(_ask(settings))
    if as_json:
        for host in hosts:
            for record in host.nodes:
                common.print_json(record)
        return
    from brainnet.cli.node_table import duration, node_table

    out = common.console()
    for host in hosts:
        out.print(
            f"brain [bold]{host.namespace}[/], host [bold]{host.host}[/]: launcher {host.pid}, up "
            f"{duration(host.uptime_s)}, hub {' '.join(host.hub)}, {host.allocation}",
            highlight=False,
        )
    out.print(node_table(record for host in hosts for record in host.nodes))


async def _ask(settings: Settings) -> list[HostStatus]:
    from brainnet.client import host_statuses

    async with await common.connect(settings) as bus:
        return await host_statuses(bus)
