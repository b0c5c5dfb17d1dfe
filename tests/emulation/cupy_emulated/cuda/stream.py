"""Streams and events: work is done when it is given, so they only have to capture and to keep the time."""

from __future__ import annotations

import time
from typing import Any

from ... import state
from .graph import Graph
from .runtime import CUDARuntimeError


class Stream:
    null: Stream
    ptds: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None):
        self.is_null, self.is_non_blocking = null, non_blocking
        self.ptr = 0 if null else id(self)
        self.capturing: Graph | None = None

    def __enter__(self) -> Stream:
        state.streams.append(self)
        return self

    def __exit__(self, *args: Any) -> None:
        state.streams.pop()

    def use(self) -> Stream:
        state.streams[:] = [self]
        return self

    def begin_capture(self, mode: int | None = None) -> None:
        if self.is_null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self.capturing is not None:
            raise CUDARuntimeError(901, "the stream is capturing already")
        self.capturing = Graph()

    def end_capture(self) -> Graph:
        if self.capturing is None:
            raise CUDARuntimeError(901, "the stream is not capturing")
        graph, self.capturing = self.capturing, None
        return graph

    def is_capturing(self) -> bool:
        return self.capturing is not None

    @property
    def done(self) -> bool:
        self._refuse("query")
        return True

    def synchronize(self) -> None:
        self._refuse("synchronize")

    def record(self, event: Event | None = None) -> Event:
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        pass

    def _refuse(self, what: str) -> None:
        if self.capturing is not None:
            raise CUDARuntimeError(900, f"operation not permitted when stream is capturing: {what}")


Stream.null = Stream(null=True)
Stream.ptds = Stream(ptds=True)


def get_current_stream(device_id: int = -1) -> Stream:
    return state.streams[-1] if state.streams else Stream.null


class Event:
    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False):
        self._disable_timing = disable_timing
        self._time: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        self._time = time.perf_counter()

    def synchronize(self) -> None:
        state.refuse_in_capture("synchronize")

    @property
    def done(self) -> bool:
        return True


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds, of the host."""
    if start_event._time is None or end_event._time is None or start_event._disable_timing or end_event._disable_timing:
        raise CUDARuntimeError(400, "invalid resource handle: events not recorded, or without timing")
    return 1e3 * (end_event._time - start_event._time)
