"""Populations of a network as a node: `program: population`, and programs that do so beside what else they do."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from pathlib import Path

from brainnet.bus import Bus
from brainnet.connectome import Connectome, build, load
from brainnet.errors import BrainnetError, CallError, CallTimeout, ConfigError, SensorError
from brainnet.guard import call_soon, describe
from brainnet.node import NetworkPart, Node, NodeSpec, load_program, serve, subscribe
from brainnet.paths import digest_of
from brainnet.programs.listening import block_of
from brainnet.sensors.listening import Listener
from brainnet.streams.division import owners, plan_of
from brainnet.streams.link import BusLink
from brainnet.streams.lockstep import Lockstep
from brainnet.streams.packing import packer
from brainnet.streams.realtime import Realtime
from brainnet.streams.runner import Runner
from brainnet.streams.saved_states import Identity, SavedStates
from brainnet.streams.warming import warm_up
from brainnet.streams.weights import answer
from brainnet.wire.keys import chunk, key
from brainnet.wire.messages import (
    ClockControl,
    ClockState,
    Health,
    Modulation,
    SensorSample,
    Weights,
    WeightsQuery,
    Windows,
    WindowsQuery,
)

_JOIN_S = 0.5
"""Seconds between two questions for the name of the run."""
_SWITCH_S = 0.0005
"""Seconds after which a thread of Python lets another one run; by default there are ten times as many."""
_SAMPLES = 64
"""Samples of a sensor that are taken in at once."""
_STOP_S = 0.8
"""Seconds that the network has to save its state when the node stops."""


class RunsNetwork(Node):
    """A node that computes populations of a network, in step with the nodes that compute the others."""

    def __init__(self, spec: NodeSpec, bus: Bus, control: Bus) -> None:
        super().__init__(spec, bus, control)
        if spec.network is None:
            raise ConfigError(
                f"{spec.id} computes populations of a network, and the allocation describes none; name one with "
                "`connectome: FILE`"
            )
        self._part: NetworkPart = spec.network
        self._connectome: Connectome
        self._lockstep: Lockstep
        self._link: BusLink
        self._runner: Runner | None = None
        self._run = ""
        self._waits_for = self._trouble = ""

    def load(self) -> None:
        """Make the populations and the synapses that end in them."""
        super().load()
        part = self._part
        if digest_of(part.file) != part.digest:
            raise ConfigError(f"{part.file} has changed since the network was launched; stop it, and launch it again")
        self._connectome = load(part.file).with_seed(part.seed)
        plan = plan_of(self._connectome, part.processes, self.id, last_step=part.last_step)
        clock = self._connectome.clock
        network = build(self._connectome, part.processes[self.id], plan.window)
        pack = packer(network, lambda: self._run, plan.window)
        if clock.mode == "realtime":
            self._lockstep = Realtime(network, plan, pack, clock.late)
        else:
            self._lockstep = Lockstep(network, plan, pack)
        for name, population in network.populations.items():
            for note in population.model.prepare():
                self.log.info("prepared", population=name, note=note)
        warm_up(network, plan.window)

    async def setup(self) -> None:
        """Declare the streams."""
        await super().setup()
        self._link = BusLink(self.bus, self.id)
        for population in self._lockstep.network.populations:
            self._link.declare(population)
            self.bus.serve(key("windows", population=population), self._serve_windows)
            self.bus.serve(key("weights", population=population), partial(self._serve_weights, population))
        outside = self._lockstep.network.modulators - self._connectome.populations.keys()
        for name in sorted(outside):
            await self.add_subscription(key("modulator", name=name), self._on_modulation)
        for model in [each.model for each in self._lockstep.network.populations.values()]:
            if isinstance(model, Listener) and model.topic is not None:
                await self._listen(model, model.topic)
        if self._part.run:
            self._start(self._part.run)
        else:  # another host may come later: this node is ready all the same
            self.spawn(self._join(), essential=True)

    def health(self) -> Health:
        """Return the health of this node, with what the models of its populations have counted."""
        health = super().health()
        if self._runner is not None:
            for name, population in self._lockstep.network.populations.items():
                health.counters |= {f"{name}.{what}": count for what, count in population.model.counts().items()}
        return health

    def _start(self, run: str) -> None:
        """Start the network, or go on where it was saved."""
        self._run = run
        clock, part = self._connectome.clock, self._part
        if clock.mode == "realtime":
            # The thread of the network wakes up for every window, and must not wait for what the event loop does then.
            sys.setswitchinterval(_SWITCH_S)
        identity = Identity(run, f"{part.digest}/{part.seed}", self.id)
        loop = asyncio.get_running_loop()
        if part.paused:
            self._lockstep.stop_at = 0
        runner = Runner(
            self._lockstep,
            self._link,
            SavedStates(Path(self.data_dir) / "streams", identity),
            run,
            owners(part.processes),
            save_every_s=clock.save_every_s,
            time_scale=clock.time_scale,
            lesion_of=self.bus.lesions.of,
            on_waiting=lambda whom: call_soon(loop, self._note_waiting, whom),
            on_trouble=lambda what: call_soon(loop, self._note_trouble, what),
            on_failure=lambda error: call_soon(loop, self._note_failure, error),
        )
        for source in self._lockstep.plan.sources:
            self.bus.listen(key("window", population=source), lambda _, payload: runner.take_window(payload))
        self._runner = runner
        runner.start()

    async def teardown(self) -> None:
        """Save the state of the network."""
        if self._runner is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._runner.stop, _STOP_S)
        await super().teardown()

    async def _join(self) -> None:
        """Start when the first process of the network says which run it is."""
        first = next(iter(self._part.processes))
        while True:
            try:
                state: ClockState = await self.bus.call(key("clock_control", process=first), ClockControl())
            except (CallError, CallTimeout):
                self._note_waiting(first)
                await asyncio.sleep(_JOIN_S)
            else:
                self._note_waiting("")
                self._start(state.run)
                await asyncio.Event().wait()  # a task that the node cannot do without does not end

    @subscribe("clock")
    async def on_clock(self, state: ClockState) -> None:
        """Take note of how far the other processes are."""
        first = next(iter(self._part.processes))
        if not self._part.run and self._run and state.process == first and state.run != self._run:
            self.fail(f"{first} has begun another run of the network")
        elif self._runner is not None:
            self._runner.take_state(state)

    @serve("clock_control", process="{id}")
    async def on_control(self, order: ClockControl) -> ClockState:
        """Stop at a step, or go on, and say how far the network is here."""
        return await self._running.control(order)

    async def _listen(self, model: Listener, topic: str) -> None:
        """Give a model what a sensor sends."""

        async def on_samples(samples: list[SensorSample]) -> None:
            # Decoding a picture takes milliseconds. Nothing overtakes: one batch is taken in before the next one.
            await asyncio.to_thread(take, samples)

        def take(samples: list[SensorSample]) -> None:
            for sample in samples:
                try:
                    block = block_of(sample)
                except SensorError as error:
                    model.refuse(str(error))
                else:
                    model.sense(block)

        _, modality, source = topic.split("/")
        await self.add_subscription(key("input", modality=modality, source=source), on_samples, batch=_SAMPLES)

    async def _on_modulation(self, modulation: Modulation, full_key: str) -> None:
        self._running.modulate(chunk("modulator", full_key, "name"), modulation.amount, modulation.step)

    async def _serve_windows(self, query: WindowsQuery, full_key: str) -> Windows:
        population = chunk("windows", full_key, "population")
        return await self._running.windows(population, query.run, query.step)

    async def _serve_weights(self, name: str, query: WeightsQuery, expression: str) -> Weights:
        return await answer(query, self._lockstep.network.populations[name], self._connectome, self._running)

    @property
    def _running(self) -> Runner:
        if self._runner is None:
            raise BrainnetError(f"{self.id} does not compute yet", code="unavailable")
        return self._runner

    def _note_waiting(self, whom: str) -> None:
        self._waits_for = whom
        self._show_state()

    def _note_trouble(self, what: str) -> None:
        self._trouble = what
        self._show_state()

    def _show_state(self) -> None:
        reasons = [f"the network waits for {self._waits_for}"] if self._waits_for else []
        if self._trouble:
            reasons.append(self._trouble)
        if reasons:
            self.degrade("; ".join(reasons))
        else:
            self.recover()

    def _note_failure(self, error: BaseException) -> None:
        self.report_error("network", error)
        self.fail(f"the network ended: {describe(error)}")


class PopulationNode(RunsNetwork):
    """Computes populations of a network, in step with the nodes that compute the others."""


def program(path: Path) -> type[Node]:
    """Return a program that also computes populations: `population:PROGRAM`.

    Args:
        path: The program.

    Raises:
        ConfigError: It cannot be imported, or is no node.
    """
    kind = load_program(str(path))
    return type(kind.__name__, (RunsNetwork, kind), {"__doc__": kind.__doc__})
