"""The types of what `put` takes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol, TypeAlias

from ._native import Record

if sys.version_info >= (3, 12):
    from collections.abc import Buffer as BytesLike
else:
    BytesLike: TypeAlias = bytes | bytearray | memoryview | Record


class Serializable(Protocol):
    """An object that knows its own form. Its `id`, if that is text, becomes the record's."""

    def serialize(self) -> str | bytes:
        """Return the payload."""


class DataclassInstance(Protocol):
    """An instance of a dataclass: stored as JSON."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


Json: TypeAlias = Mapping[str, Any] | list[Any] | tuple[Any, ...]
Payload: TypeAlias = BytesLike | str | Json | Serializable | DataclassInstance
HeaderValue: TypeAlias = BytesLike | str
Headers: TypeAlias = Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]]
