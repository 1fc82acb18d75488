"""Event frames against counting one by one, there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainnet.errors import ModelError
from brainnet.snn.codes.event_frames import EventStream, event_frames, frame_events

quick = settings(deadline=None, max_examples=60)
HEIGHT, WIDTH, STEPS = 3, 5, 4


def stream(*events: tuple[int, int, int, int], kind: Any = np.int64) -> EventStream:
    """Events as (time, x, y, polarity)."""
    columns = np.array(events, dtype=np.int64).reshape(-1, 4).T
    return EventStream(columns[0].astype(kind), *(column.astype(np.uint16) for column in columns[1:]))


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[tuple[int, int, int, int]], int, int]:
    dt, start = draw(st.integers(1, 50)), draw(st.integers(-100, 2**40))
    event = st.tuples(
        st.integers(start, start + STEPS * dt - 1),
        st.integers(0, WIDTH - 1),
        st.integers(0, HEIGHT - 1),
        st.integers(0, 1),
    )
    return sorted(draw(st.lists(event, max_size=60))), dt, start


@quick
@given(recordings())
def test_every_event_is_counted_in_its_step_pixel_and_polarity(
    recording: tuple[list[tuple[int, int, int, int]], int, int],
) -> None:
    events, dt, start = recording
    expected = np.zeros((STEPS, 2, HEIGHT, WIDTH), int)
    for time, x, y, polarity in events:
        expected[(time - start) // dt, polarity, y, x] += 1
    window: Any = {"dt_us": dt, "steps": STEPS, "start_us": start}
    counted = event_frames(stream(*events), HEIGHT, WIDTH, counts=True, **window)
    assert counted.dtype == np.uint16
    assert counted.sum() == len(events)
    np.testing.assert_array_equal(counted, expected)
    spikes = event_frames(stream(*events), HEIGHT, WIDTH, **window)
    assert spikes.dtype == np.uint8
    np.testing.assert_array_equal(spikes, expected > 0)


@quick
@given(recordings())
def test_frames_come_back_from_their_events(recording: tuple[list[tuple[int, int, int, int]], int, int]) -> None:
    events, dt, start = recording
    window: Any = {"dt_us": dt, "steps": STEPS, "start_us": start}
    for counts in (False, True):
        frames = event_frames(stream(*events), HEIGHT, WIDTH, counts=counts, **window)
        back = frame_events(frames, dt_us=dt, start_us=start)
        assert len(back) == frames.sum()
        assert ((back.times_us - start) % dt == 0).all()
        np.testing.assert_array_equal(event_frames(back, HEIGHT, WIDTH, counts=counts, **window), frames)


def test_on_is_channel_1_and_a_step_begins_on_its_boundary() -> None:
    events = stream((10, 0, 0, 1), (19, 1, 0, 0), (20, 2, 1, 1), (29, 2, 1, 1))
    frames = event_frames(events, 2, 3, dt_us=10, steps=2, start_us=10, counts=True)
    assert {tuple(at): int(frames[tuple(at)]) for at in np.argwhere(frames)} == {
        (0, 1, 0, 0): 1,
        (0, 0, 0, 1): 1,
        (1, 1, 1, 2): 2,
    }


def test_without_a_start_the_window_begins_at_0() -> None:
    frames = event_frames(stream((0, 0, 0, 1), (9, 0, 0, 0)), 1, 1, dt_us=5, steps=2)
    assert frames.reshape(-1).tolist() == [0, 1, 1, 0]


def test_events_of_frames_stand_at_the_start_of_their_steps() -> None:
    frames = np.zeros((2, 2, 1, 2), np.uint64)
    frames[1, 0, 0, 1], frames[1, 1, 0, 0] = 2, 1
    back = frame_events(frames, dt_us=7)
    assert back.times_us.tolist() == [7, 7, 7]
    assert (back.x.tolist(), back.y.tolist(), back.polarity.tolist()) == ([1, 1, 0], [0, 0, 0], [0, 0, 1])


def test_an_empty_stream_makes_empty_frames_and_back() -> None:
    for counts in (False, True):
        frames = event_frames(stream(), HEIGHT, WIDTH, dt_us=10, steps=2, counts=counts)
        assert frames.shape == (2, 2, HEIGHT, WIDTH)
        assert not frames.any()
        assert len(frame_events(frames, dt_us=10)) == 0


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.int32])
def test_between_takes_the_start_and_leaves_the_stop(kind: Any) -> None:
    events = stream(*((time, time % 3, 0, time % 2) for time in (3, 5, 5, 8, 9)), kind=kind)
    part = events.between(5, 9)
    assert part.times_us.tolist() == [5, 5, 8]
    assert part.x.tolist() == [2, 2, 2]
    assert part.polarity.tolist() == [1, 1, 0]
    assert part.y.base is not None
    assert len(events.between(-5, 100)) == 5
    assert len(events.between(9, 5)) == len(events.between(10, 20)) == 0


def test_between_is_exact_for_times_that_a_float_cannot_tell_apart() -> None:
    late = 2**60
    events = stream((late, 0, 0, 0), (late + 1, 1, 0, 0), (late + 2, 2, 0, 0), kind=np.uint64)
    assert events.between(late + 1, late + 2).x.tolist() == [1]


def test_a_pixel_counts_to_65535() -> None:
    many = np.zeros(65_536, np.int64)
    full = EventStream(many[1:], many[1:], many[1:], many[1:])
    assert event_frames(full, 1, 1, dt_us=1, steps=1, counts=True)[0, 0, 0, 0] == 65_535
    over = EventStream(many, many, many, many)
    assert event_frames(over, 1, 1, dt_us=1, steps=1)[0, 0, 0, 0] == 1
    with pytest.raises(ModelError, match="events hold 65536 of one pixel in one step, more than 65535; shorten dt_us"):
        event_frames(over, 1, 1, dt_us=1, steps=1, counts=True)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ((9, 0, 0, 0), "times_us of event 1 is 9; expected 10 to 29"),
        ((30, 0, 0, 0), "times_us of event 1 is 30; expected 10 to 29"),
        ((12, 5, 0, 0), "x of event 1 is 5; expected 0 to 4"),
        ((12, 0, 3, 0), "y of event 1 is 3; expected 0 to 2"),
    ],
)
def test_events_outside_window_and_sensor_are_refused(event: tuple[int, int, int, int], said: str) -> None:
    earlier = (event[0] if event[0] < 10 else 10, 0, 0, 1)
    events = stream(earlier, event)
    if event[0] < 10:
        said = said.replace("event 1", "event 0")
    with pytest.raises(ModelError, match=said):
        event_frames(events, 3, 5, dt_us=10, steps=2, start_us=10)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_negative_pixel_is_refused(axis: str) -> None:
    parts: dict[str, Any] = {name: np.zeros(1, np.int64) for name in ("times_us", "x", "y", "polarity")}
    parts[axis] = np.array([-1])
    with pytest.raises(ModelError, match=f"{axis} of event 0 is -1; expected 0 to 0"):
        event_frames(EventStream(**parts), 1, 1, dt_us=1, steps=1)


@pytest.mark.parametrize("name", ["height", "width", "dt_us", "steps"])
def test_sizes_that_are_not_positive_are_refused(name: str) -> None:
    sizes: Any = {"height": 1, "width": 1, "dt_us": 1, "steps": 1}
    assert event_frames(stream(), **sizes).shape == (1, 2, 1, 1)
    with pytest.raises(ModelError, match=f"{name} must be at least 1, not 0"):
        event_frames(stream(), **{**sizes, name: 0})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"times_us": np.array([5, 4])}, "times_us must not go back"),
        ({"times_us": np.array([5, 4], np.uint64)}, "times_us must not go back"),
        ({"times_us": np.array([1.0, 2.0])}, "times_us must be integers .* not float64"),
        ({"times_us": np.array(1)}, r"times_us must be integers \[1\], one an event, not int64 \[\]"),
        ({"x": np.array([1, 2, 3])}, r"x must be integers \[2\], one an event, not int64 \[3\]"),
        ({"y": np.array([[1, 2]])}, r"y must be integers \[2\], one an event, not int64 \[1, 2\]"),
        ({"polarity": np.array([True, False])}, "polarity must be integers .* not bool"),
        ({"polarity": np.array([1, -1])}, r"polarity must be 0 \(OFF\) or 1 \(ON\)"),
        ({"polarity": np.array([0, 2])}, r"polarity must be 0 \(OFF\) or 1 \(ON\)"),
    ],
)
def test_streams_that_are_none_are_refused(change: dict[str, Any], said: str) -> None:
    parts: dict[str, Any] = {name: np.array([0, 1]) for name in ("times_us", "x", "y", "polarity")}
    with pytest.raises(ModelError, match=said):
        EventStream(**{**parts, **change})


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (np.zeros((2, 3, 4, 4), int), r"frames must be integers \[T, 2, H, W\], not int64 \[2, 3, 4, 4\]"),
        (np.zeros((2, 4, 4), int), r"frames must be integers \[T, 2, H, W\]"),
        (np.zeros((1, 2, 4, 4)), r"frames must be integers \[T, 2, H, W\], not float64"),
        (np.full((1, 2, 1, 1), -1), "frames must hold counts of 0 or more"),
    ],
)
def test_frames_that_are_none_are_refused(frames: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        frame_events(frames, dt_us=1)
    with pytest.raises(ModelError, match="dt_us must be at least 1, not 0"):
        frame_events(np.zeros((1, 2, 1, 1), int), dt_us=0)
