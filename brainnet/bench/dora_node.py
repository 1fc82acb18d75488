"""The two nodes of the dora dataflow of the benchmarks: `ping` measures round trips and sends, `pong` answers.

`dora` starts them; `brainnet.bench.dora` commands them over a Unix socket, one JSON object a line. Both exit when that
socket closes, so they cannot outlive the process that started the dataflow.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from brainnet.bench import workload
from brainnet.wire.packet import SpikePacket, decode, encode

END = {"end": True}
"""Metadata of the message that ends a stream. It is sent on the same output: the queue of an input drops the oldest, so
it arrives whatever was dropped before it."""


class _Control:
    """The socket to the benchmark."""

    def __init__(self, role: str, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self.tell(role=role)

    def tell(self, **fields: Any) -> None:
        self._socket.sendall(json.dumps(fields).encode() + b"\n")

    def commands(self) -> Iterator[dict[str, Any]]:
        with self._socket.makefile("r") as lines:
            for line in lines:
                yield json.loads(line)


def _payload(event: Any) -> bytes:
    """Return the bytes of an event, with one copy."""
    payload: bytes = event["value"].buffers()[1].to_pybytes()
    return payload


def _ping(node: Any, control: _Control) -> None:
    data = workload.spikes()

    def send(output: str, seq: int) -> None:
        packet = SpikePacket(data, modality="bench", source="ping", seq=seq, timestamp_ns=time.time_ns())
        node.send_output(output, encode(packet))

    def pong() -> None:
        while True:
            event = node.next()
            if event is None or event["type"] in ("STOP", "ERROR"):
                raise SystemExit(f"the dataflow ended: {event}")
            if event["type"] == "INPUT":
                decode(_payload(event))
                return

    for command in control.commands():
        match command:
            case {"do": "trips", "count": count}:
                taken = []
                for seq in range(count):
                    start = time.perf_counter()
                    send("ping", seq)
                    pong()
                    taken.append(time.perf_counter() - start)
                control.tell(taken=taken)
            case {"do": "stream", "count": count}:
                for seq in range(count):
                    send("stream", seq)
                node.send_output("stream", b"", END)
            case {"do": "windows", "payload": text, "shape": shape, "seconds": seconds}:
                window = base64.b64decode(text)
                until = time.perf_counter() + seconds
                while time.perf_counter() < until:
                    node.send_output("stream", window, {"shape": shape})
                node.send_output("stream", b"", END)


def _pong(node: Any, control: _Control) -> None:
    threading.Thread(target=_exit_with, args=(control,), daemon=True).start()
    received = 0
    start = end = 0.0
    for event in node:
        if event["type"] == "STOP":
            return
        if event["type"] != "INPUT":
            continue
        if event["id"] == "ping":
            node.send_output("pong", encode(decode(_payload(event))))
        elif "end" in event["metadata"]:
            control.tell(received=received, seconds=end - start)
            received = 0
        else:
            shape = event["metadata"].get("shape")
            if shape is None:
                decode(_payload(event))
            else:
                workload.read_bits(_payload(event), *shape)
            received += 1
            end = time.perf_counter()
            if received == 1:
                start = end


def _exit_with(control: _Control) -> None:
    for _ in control.commands():
        pass
    os._exit(0)  # at once: the other thread waits for events


def main(role: str, path: str) -> None:
    """Run one of the nodes until the socket at `path` closes."""
    from dora import Node

    control = _Control(role, path)
    (_ping if role == "ping" else _pong)(Node(), control)


if __name__ == "__main__":
    main(*sys.argv[1:])
