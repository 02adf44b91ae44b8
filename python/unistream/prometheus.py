"""Producers for `prometheus_client`: `pip install unistream[prometheus]`.

    from prometheus_client import start_http_server
    from unistream.prometheus import Collector

    producer = unistream.Producer("outbox", send)
    Collector(producer)
    start_http_server(9100)

`producer.prometheus()` is the same as a text, for programs that serve it themselves, and needs no package;
`unistream stat outbox --textfile FILE` writes it for the node exporter, from outside of the program.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector as _Collector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry, Metric

    from ._producer import Producer

__all__ = ["Collector"]


class Collector(_Collector):
    """Gives a registry the numbers of producers, as they are when it is scraped.

    A producer is named by the labels `path` and, in an outbox, `slot`. It is not kept alive, and is left out once it is
    gone. In a process that was forked each producer is asked in the child. May be used from any thread.

    Args:
        producers: those to begin with; `add` takes more.
        registry: where it registers itself; `None`: nowhere, `registry.register` is the program's own.
    """

    def __init__(self, *producers: Producer, registry: CollectorRegistry | None = REGISTRY) -> None:
        self._lock = threading.Lock()
        self._producers: list[weakref.ref[Producer]] = []
        for producer in producers:
            self.add(producer)
        if registry is not None:
            registry.register(self)

    def add(self, producer: Producer) -> None:
        """Add a producer."""
        with self._lock:
            self._producers = [known for known in self._producers if known() is not None]
            self._producers.append(weakref.ref(producer))

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the names need not be known beforehand, and a registry then asks nobody."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return the metrics, each once with all producers."""
        with self._lock:
            producers = [producer for known in self._producers if (producer := known()) is not None]
        families: dict[str, Metric] = {}
        for producer in producers:
            for family in text_string_to_metric_families(producer.prometheus()):
                if family.name in families:
                    families[family.name].samples.extend(family.samples)
                else:
                    families[family.name] = family
        return families.values()
