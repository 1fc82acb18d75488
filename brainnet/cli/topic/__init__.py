"""`brainnet topic`: list, watch, measure and publish topics."""

from __future__ import annotations

from brainnet.cli import common
from brainnet.cli.topic import catalogue, echo, measure, publish

app = common.verb("List, watch, measure and publish topics.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """List, watch, measure and publish topics.

    A KEY is relative to the brain's namespace when it begins like a topic of the contract or with a wildcard; any other
    Zenoh key expression is taken as it is.
    """


app.command("list")(catalogue.list_topics)
app.command("info")(catalogue.info)
app.command("echo")(echo.echo)
app.command("hz")(measure.hz)
app.command("bw")(measure.bw)
app.command("delay")(measure.delay)
app.command("pub")(publish.pub)
