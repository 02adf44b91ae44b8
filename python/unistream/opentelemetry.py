"""Producers as metrics of OpenTelemetry: `pip install unistream[opentelemetry]`.

    import unistream.opentelemetry

    producer = unistream.Producer("outbox", send)
    unistream.opentelemetry.observe(producer)

The program sets up the SDK, its readers and its exporters, as for all its other metrics.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter

from . import __version__
from ._native import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._options import Stats
    from ._producer import Producer

__all__ = ["observe"]

_FRESH = 0.1
"""Seconds for which a snapshot is good: a reader asks for each metric by itself, one right after the other."""

_SCALE = {"time": ("s", 1e-6), "milliseconds": ("s", 1e-3), "sum": ("s", 1e-6)}
"""Units, and what a number is multiplied with to be in them."""


class _Snapshot:
    """The numbers of a producer, taken once for all metrics of a collection."""

    def __init__(self, producer: Producer) -> None:
        self._producer = weakref.ref(producer)
        self._lock = threading.Lock()
        self._stats: Stats | None = None
        self._taken = 0.0

    def take(self) -> tuple[Stats, dict[str, str]] | None:
        producer = self._producer()
        if producer is None:
            return None
        now = time.monotonic()
        with self._lock:
            if self._stats is None or now > self._taken + _FRESH:
                self._stats, self._taken = producer.stats(), now
            stats = self._stats
        attributes = {"unistream.path": str(producer.path)}
        if producer.slot is not None:
            attributes["unistream.slot"] = producer.slot
        return stats, attributes


def observe(producer: Producer, meter: Meter | None = None) -> None:
    """Make the numbers of a producer observable: each counter of `Stats` as `unistream.NAME`.

    What only rises is a counter, the rest are gauges; times are seconds since 1970, spans are seconds. The rates are
    left out: who collects counters makes better ones. `unistream.state` is 1 with the attribute `state` of what the
    producer is doing. The producer is not kept alive; once it is gone, nothing is observed any more.

    Args:
        producer: the producer. Several may be observed; the attributes `unistream.path` and `unistream.slot` tell them
            apart.
        meter: the meter that makes the instruments; without one it is that of the global provider.
    """
    meter = get_meter("unistream", __version__) if meter is None else meter
    snapshot = _Snapshot(producer)
    for name, kind, doc in metrics():
        if kind == "rate":
            continue
        unit, scale = _SCALE.get(kind, ("By" if name.endswith("bytes") else "1", 1))
        create: Callable[..., Any] = meter.create_observable_gauge
        if kind in {"counter", "bucket", "sum"}:
            create = meter.create_observable_counter
        create(f"unistream.{name}", [_value(snapshot, name, scale)], unit=unit, description=doc.replace("`", ""))
    meter.create_observable_gauge(
        "unistream.state", [_state(snapshot)], unit="1", description="What the producer is doing."
    )


def _value(snapshot: _Snapshot, name: str, scale: float) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe_value(_options: CallbackOptions) -> Iterable[Observation]:
        taken = snapshot.take()
        if taken is None:
            return []
        stats, attributes = taken
        value: int = getattr(stats, name)
        return [Observation(value * scale, attributes)]

    return observe_value


def _state(snapshot: _Snapshot) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe_state(_options: CallbackOptions) -> Iterable[Observation]:
        taken = snapshot.take()
        return [] if taken is None else [Observation(1, taken[1] | {"state": taken[0].state})]

    return observe_state
