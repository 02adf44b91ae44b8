"""Sinks by URL or name: those of the engine, and those that Python code adds.

A kind that is added here is known to the engine too, so that the command line finds it. What an installed package
offers as an entry point is loaded when somebody asks for its scheme, not before.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from . import _native
from ._errors import InvalidArgument
from ._sink import Send, Sink, check_arity, is_async, name_of, prepare_of, send_of, start_crew

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "unistream.sinks"
"""The group of entry points: the name is the scheme, the object is a factory."""

Factory: TypeAlias = Callable[..., Sink]
"""What makes a sink: called with what stands in the URL between the scheme and `?`, as it is written, and with the
options as keywords; those of a URL are text."""

_factories: dict[str, Factory] = {}
_loading = threading.RLock()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SinkKind:
    """A kind of sinks, as `sinks()` lists it."""

    scheme: str
    url: str
    """The form of its URLs."""
    summary: str
    once: str
    """How often a record can arrive."""
    missing: str = ""
    """The cargo feature that this build lacks for it; empty: it is there."""


def sink(url_or_kind: str, /, **options: Any) -> Sink:
    """Make a sink by its URL, such as `kinesis://stream?region=eu-central-1`, or by the name of its kind.

    Args:
        url_or_kind: what follows `?` in a URL are options as text, divided by `&`, with reserved characters
            percent-encoded. Secrets do not belong there, where others see them, and are refused; they are given as
            options.
        options: the options of the sink, as `unistream.options(kind)` lists them. One that the URL has named already is
            refused.

    Raises:
        InvalidArgument: there is no such kind or option, or an option is out of its range.
        Unsupported: this build lacks the kind.

    >>> unistream.sink("file:events.log?sync=true", mode=0o600)
    <NativeSink file:events.log>
    """
    factory = _factory(url_or_kind.partition(":")[0])
    if factory is None:
        return _native.open_sink(url_or_kind, options)
    named = _native.sink_options(url_or_kind)
    place = named.pop("place", "")
    if twice := named.keys() & options.keys():
        raise InvalidArgument(f"option {min(twice)} is given twice")
    return factory(place, **named, **options)


def sinks() -> list[SinkKind]:
    """List the kinds that `sink()` knows: the engine's, the registered ones, and those of installed packages."""
    kinds = [SinkKind(**row) for row in _native.sink_kinds()]
    known = {kind.scheme for kind in kinds}
    for point in _entry_points():
        if point.name not in known:
            known.add(point.name)
            kinds.append(SinkKind(scheme=point.name, url=f"{point.name}:", summary=_origin(point), once=_ONCE))
    return kinds


def register_sink(scheme: str, factory: Factory) -> None:
    """Add a kind of sinks to this process: `sink()`, URLs and the command line find it from then on.

    A package that offers one declares it instead, and it is loaded when it is asked for:

        [project.entry-points."unistream.sinks"]
        pigeon = "pigeons:make_sink"

    Args:
        scheme: small letters, digits, `+`, `-` and `.`, beginning with a letter.
        factory: called with what stands in the URL between the scheme and `?`, as it is written, and with the options
            as keywords, text where they come from a URL; returns what a `Producer` takes as its sink.

    Raises:
        InvalidArgument: it is no scheme, or it is taken.

    >>> def make_sink(place, loft="north"):
    ...     return lambda batch: print(place, loft, [record.text for record in batch])
    >>> unistream.register_sink("pigeon", make_sink)
    >>> with unistream.Producer(path, unistream.sink("pigeon:roof?loft=south")) as producer:
    ...     producer.put("coo")
    1
    roof south ['coo']
    """
    if not callable(factory):
        raise TypeError(f"a factory of sinks is callable; {type(factory).__name__} is not")
    _register(scheme, factory, f"{factory.__doc__ or name_of(factory)}".strip().splitlines()[0])


_ONCE = "At least once."


def _register(scheme: str, factory: Factory, summary: str) -> None:
    with _loading:
        _native.register_sink(scheme, summary, functools.partial(_serve, factory))
        _factories[scheme] = factory


def _factory(scheme: str) -> Factory | None:
    """Return what makes sinks of this scheme; `None` if it is not Python's to make."""
    if (factory := _factories.get(scheme)) is None and all(row["scheme"] != scheme for row in _native.sink_kinds()):
        _find(scheme)
        factory = _factories.get(scheme)
    return factory


def _find(scheme: str) -> None:
    """Register what an installed package offers for this scheme, if one does."""
    with _loading:
        for point in _entry_points():
            if point.name != scheme:
                continue
            factory = point.load()
            # Importing it may have registered it.
            if scheme not in _factories:
                _register(scheme, factory, _origin(point))


def _entry_points() -> Iterable[EntryPoint]:
    # It takes longer to import than the rest of the package, and few ask for it.
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)


def _origin(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "an installed package"
    return f"{point.value}, of {package}."


def _serve(factory: Factory, options: dict[str, str]) -> _native.NativeSink | _native.Channel:
    """Make a sink for the engine, when there is no producer of Python's that would run it."""
    made = factory(options.pop("place", ""), **options)
    if isinstance(made, _native.NativeSink):
        return made
    send = send_of(made)
    check_arity(send)
    if is_async(send):
        raise TypeError("an async sink needs a program with an event loop")
    channel = _native.Channel(name_of(made), None, None, prepare_of(made, None))
    start_crew(channel, cast("Send", send))
    return channel


_native.set_sink_finder(_find)
