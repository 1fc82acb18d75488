"""What a node offers on its control session: its status, its parameters, its lesions, and that it can be stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from brainnet.bus import Bus
from brainnet.errors import ConfigError, LaunchError
from brainnet.node.params import assign, describe
from brainnet.wire import keys
from brainnet.wire.messages import (
    ControlQuery,
    ControlReply,
    LesionQuery,
    LesionReply,
    Message,
    ParamsQuery,
    ParamsReply,
    StatusQuery,
)

if TYPE_CHECKING:
    from brainnet.node.node import Node


def serve_control(node: Node) -> None:
    """Reply to status, parameter, lesion and control queries, from now until the control session is closed."""

    async def status(request: StatusQuery, key: str) -> Message:
        health = node.health()
        # Not in every heartbeat: they do not change.
        health.examples = list(node.prompt_examples)
        return health

    async def parameters(request: ParamsQuery, key: str) -> Message:
        if request.set:
            if request.name is None:
                raise ConfigError("name the parameter to set")
            assign(node.params, request.name, request.value, node.id)
            node.log.info("parameter set", name=request.name, value=request.value)
            node.params_changed(request.name)
        return ParamsReply(params=describe(node.params, request.name, node.id))

    async def lesion(request: LesionQuery, key: str) -> Message:
        if request.lesion is not None:
            node.bus.lesions.set(request.lesion)
            node.log.warning("lesion", **request.lesion.model_dump())
        return LesionReply(lesions=node.bus.lesions.all())

    async def control(request: ControlQuery, key: str) -> Message:
        if request.action != "stop":
            raise ConfigError(f"a node can only be told to stop; {request.action} is its supervisor's")
        # 20 ms later, because the stop closes the session that has to send the reply first.
        asyncio.get_running_loop().call_later(0.02, node.stop)
        return ControlReply(done=f"{node.id} stops")

    node.control.serve(keys.key("node_status", node_id=node.id), status)
    node.control.serve(keys.key("node_params", node_id=node.id), parameters)
    node.control.serve(keys.key("node_lesion", node_id=node.id), lesion)
    node.control.serve(keys.key("node_control", node_id=node.id), control)


async def check_id_is_free(control: Bus, node_id: str) -> None:
    """Check that no other node of this id is alive.

    Raises:
        LaunchError: There is one.
    """
    # The liveliness token of a process that has ended disappears when its connection breaks, or, when its host was cut
    # off, after the lease of 2 s. So 30 tries, 0.1 s apart, outlast it.
    for _ in range(30):
        others = await control.alive(keys.key("alive", node_id=node_id))
        if not others:
            return
        await asyncio.sleep(0.1)
    raise LaunchError(f"a node {node_id!r} is already alive in this brain ({others[0]}); give this one another id")
