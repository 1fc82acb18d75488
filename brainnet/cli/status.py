"""`brainnet status`: every node of the brain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from brainnet.cli import common, output

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

    Of a node that is down it says why, when it is started again, and what to do.

    With --json, one node a line: id, program, host, state, pid, restarts, exit_code, memory_bytes (proportional set
    size), uptime_s, ready_s, reason, starts, next_start_s, advice.

    Example: brainnet status --json
    """
    settings = brain.settings()
    hosts = common.run_async(_ask(settings))
    if as_json:
        for host in hosts:
            for record in host.nodes:
                output.print_json(record)
        return
    from brainnet.cli.node_table import duration, node_table

    for host in hosts:
        output.line(
            "brain ",
            output.Styled(host.namespace, "bold"),
            ", host ",
            output.Styled(host.host, "bold"),
            f": launcher {host.pid}, up {duration(host.uptime_s)}, hub {' '.join(host.hub)}, {host.allocation}",
        )
        if host.prompts is not None:
            given = host.prompts
            output.line(
                f"prompts: {given.open} open, {given.answers} answered, {given.error_answers} with an error, "
                f"{given.refused + given.malformed} refused"
            )
            if given.journal_problem is not None:
                output.line(output.Styled("the journal cannot be written: ", "red"), given.journal_problem)
    output.show(node_table(record for host in hosts for record in host.nodes))


async def _ask(settings: Settings) -> list[HostStatus]:
    from brainnet.client import host_statuses

    async with await common.connect(settings) as bus:
        return await host_statuses(bus)
