"""The checks that every driver of a device passes: `brainnet.devices.Device` as a suite.

```python
@pytest.mark.parametrize("check", conformance.CHECKS, ids=lambda check: check.__name__)
def test_my_driver(check, network, tmp_path):
    check(lambda: MyDevice("10.0.0.7:17892"), network)
```

Each check opens a device of its own and closes it. The device must be stepped and readable, and compute in integers as
`brainnet.devices.Twin` does with the same `weight_bits` and `tick_us`, which is what its spikes are compared with. The
network is a NIR file that the device can run, and fires under random input.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from brainnet.devices import Device, Events, LoadOptions, RoundingReport, Start, Twin
from brainnet.errors import DeviceError, ModelError

Make = Callable[[], Device]
Check = Callable[[Make, Path], None]
STEPS: Final = 60
"""Steps of each run."""


def _options(device: Device) -> LoadOptions:
    return LoadOptions(step_ms=device.info.tick_us / 1000)


def _loaded(device: Device, network: Path) -> RoundingReport:
    return device.load(network, _options(device))


def _counts(inputs: int, steps: int = STEPS, seed: int = 7) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    counts: NDArray[np.int64] = np.where(
        random.random((steps, inputs)) < 0.3, random.integers(1, 3, (steps, inputs)), 0
    )
    return counts


def _run(device: Device, counts: NDArray[np.int64], cuts: Iterable[int] = (), first: int = 0) -> Events:
    """Write and read in windows that end at the cuts, counted from the first step."""
    parts, begin = [], 0
    for end in [*sorted(set(cuts)), len(counts)]:
        device.write(Events.of_counts(first + begin, counts[begin:end]))
        parts.append(device.read(first + end))
        begin = end
    steps, addresses = (np.concatenate([getattr(p, name) for p in parts]) for name in ("steps", "addresses"))
    return Events(first, first + len(counts), steps, addresses)


def _same(one: Events, other: Events) -> bool:
    return np.array_equal(one.steps, other.steps) and np.array_equal(one.addresses, other.addresses)


def _refuses(what: str, call: Callable[[], object], kind: type[Exception] = DeviceError) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{what} was not refused")


def _of_twin(device: Device, network: Path, counts: NDArray[np.int64], first: int = 0) -> Events:
    with Twin(device.info.weight_bits, device.info.tick_us) as twin:
        _loaded(twin, network)
        twin.start(Start(first))
        found = _run(twin, counts, first=first)
    assert found.steps.size, "the network does not fire; these checks need one that does"
    return found


def check_info(make: Make, network: Path) -> None:
    """Check that what it has is known after `open`, and its ports after `load`."""
    with make() as device:
        info = device.info
        assert info.stepped, "this suite is for stepped devices"
        assert info.readable, "this suite is for devices whose state can be read"
        assert info.reset == "value"
        assert 2 <= info.weight_bits <= 16
        assert info.tick_us > 0
        _loaded(device, network)
        assert device.info.input_size > 0
        assert device.info.output_size > 0


def check_rounding(make: Make, network: Path) -> None:
    """Check that `load` reports for each layer what rounding changed, as the twin of the same bits does."""
    with make() as device, Twin(device.info.weight_bits, device.info.tick_us) as twin:
        report = _loaded(device, network)
        assert report.layers
        assert report == _loaded(twin, network)
        assert report.changed == any(layer.changed for layer in report.layers)
        assert len(report.sentences()) == len(report.layers)


def check_spikes(make: Make, network: Path) -> None:
    """Check that its spikes are those of the twin."""
    with make() as device:
        _loaded(device, network)
        counts = _counts(device.info.input_size)
        device.start(Start())
        assert _same(_run(device, counts), _of_twin(device, network, counts))


def check_windows(make: Make, network: Path) -> None:
    """Check that its spikes depend neither on the cuts into windows nor on the step that it begins with."""
    with make() as device:
        _loaded(device, network)
        counts = _counts(device.info.input_size)
        device.start(Start(1000))
        found = _run(device, counts, [1, 2, 17, 40], first=1000)
        assert _same(found, _of_twin(device, network, counts, first=1000))


def check_silence(make: Make, network: Path) -> None:
    """Check that windows without input are computed as well."""
    with make() as device:
        _loaded(device, network)
        counts = np.zeros((STEPS, device.info.input_size), np.int64)
        counts[::9] = 2
        device.start(Start())
        assert _same(_run(device, counts, range(5, STEPS, 5)), _of_twin(device, network, counts))


def check_reset(make: Make, network: Path) -> None:
    """Check that after `reset` the same input gives the same spikes."""
    with make() as device:
        _loaded(device, network)
        counts = _counts(device.info.input_size)
        device.start(Start())
        first = _run(device, counts)
        device.reset()
        device.start(Start())
        assert _same(first, _run(device, counts))


def check_state(make: Make, network: Path) -> None:
    """Check that what `state` returns goes on in another device as in the first."""
    with make() as device:
        _loaded(device, network)
        counts = _counts(device.info.input_size)
        whole = _of_twin(device, network, counts)
        half = STEPS // 2
        device.start(Start())
        before = _run(device, counts[:half])
        saved = device.state()
    with make() as device:
        _loaded(device, network)
        device.restore(saved, Start(half))
        after = _run(device, counts[half:], first=half)
        wrong = {name: array[:-1] for name, array in saved.items()}
        _refuses("the state of another network", lambda: device.restore(wrong, Start(half)))
    assert np.array_equal(np.concatenate([before.steps, after.steps]), whole.steps)
    assert np.array_equal(np.concatenate([before.addresses, after.addresses]), whole.addresses)


def check_counters(make: Make, network: Path) -> None:
    """Check that what is sent and received is counted, and nothing is lost."""
    with make() as device:
        _loaded(device, network)
        counts = _counts(device.info.input_size)
        device.start(Start())
        found = _run(device, counts, [20])
        counted = device.counters()
    assert counted.keys_sent == counts.sum()
    assert counted.keys_received == found.steps.size
    assert counted.unknown_keys == counted.malformed_packets == counted.late_keys == 0
    assert not any((counted.lost_keys, counted.lost_packets, counted.lost_inputs))


def check_order(make: Make, network: Path) -> None:
    """Check that calls out of order and input that is not there are refused, and change nothing."""
    with make() as device:
        _refuses("a second open", device.open)
        _refuses("start without a network", lambda: device.start(Start()))
        _loaded(device, network)
        counts = _counts(device.info.input_size)
        _refuses("write before start", lambda: device.write(Events.of_counts(0, counts)))
        _refuses("read before start", lambda: device.read(1))
        device.start(Start())
        _refuses("a second start", lambda: device.start(Start()))
        _refuses("a step without input", lambda: device.read(1))
        _refuses("a window that is not the next", lambda: device.write(Events.of_counts(1, counts)))
        beyond = Events.of(0, 1, [0], [device.info.input_size])
        _refuses("an input that is not there", lambda: device.write(beyond))
        _refuses("a step outside of its window", lambda: device.write(Events.of(0, 1, [1], [0])))
        assert _same(_run(device, counts), _of_twin(device, network, counts))
        _refuses("a step that is past", lambda: device.read(1))


def check_wrong_files(make: Make, network: Path) -> None:
    """Check that a file that is not there is refused, and that another one can be loaded then."""
    with make() as device:
        missing = network.with_name("is_not_there.nir")
        _refuses("a missing file", lambda: device.load(missing, _options(device)), ModelError)
        _loaded(device, network)
        assert device.info.output_size


def check_close(make: Make, network: Path) -> None:
    """Check that a closed device can be closed and opened again, begins anew, and leaves its place to another one."""
    device = make()
    for _ in range(2):
        device.open()
        _loaded(device, network)
        counts = _counts(device.info.input_size)
        device.start(Start())
        assert _same(_run(device, counts), _of_twin(device, network, counts))
        assert device.counters().keys_sent == counts.sum()
        device.close()
        device.close()
        _refuses("a window for a closed device", lambda: device.write(Events.of(STEPS, STEPS, [], [])))
    with make() as again:
        _loaded(again, network)


CHECKS: Final[tuple[Check, ...]] = (
    check_info,
    check_rounding,
    check_spikes,
    check_windows,
    check_silence,
    check_reset,
    check_state,
    check_counters,
    check_order,
    check_wrong_files,
    check_close,
)
"""All checks."""
