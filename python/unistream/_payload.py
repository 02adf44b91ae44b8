"""The types of what `put` takes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypedDict

from ._native import Record

if TYPE_CHECKING:
    from datetime import date, datetime, time
    from decimal import Decimal
    from enum import Enum
    from uuid import UUID

    from ._options import Seconds

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


class AttrsInstance(Protocol):
    """An instance of a class of attrs: stored as JSON."""

    __attrs_attrs__: ClassVar[Any]


class Model(Protocol):
    """A model of pydantic: stored as the JSON that it writes."""

    def model_dump_json(self) -> str:
        """Return the JSON."""


class Numbers(Protocol):
    """A number or an array of numpy: stored as JSON."""

    @property
    def dtype(self) -> Any:
        """What the numbers are."""

    def tolist(self) -> Any:
        """Return Python's own numbers."""


# As text, so that nobody waits for the import of what few use.
Json: TypeAlias = """(
    Mapping[Any, Any] | list[Any] | tuple[Any, ...] | set[Any] | frozenset[Any] | date | time | Decimal | UUID | Enum
    | PathLike[str] | DataclassInstance | AttrsInstance | Model | Numbers
)"""
"""What is stored as JSON; `datetime` and pandas' `Timestamp` are dates."""
Payload: TypeAlias = "BytesLike | str | Json | Serializable"
HeaderValue: TypeAlias = BytesLike | str
Headers: TypeAlias = Mapping[str, HeaderValue] | Iterable[tuple[str, HeaderValue]]

Default: TypeAlias = Callable[[Any], Any]
"""Is called with a value that JSON has no form for, and returns another one in its place."""
Serializer: TypeAlias = Callable[[Any], BytesLike | str]
"""Is called with what is put, and returns the payload."""


def check_hooks(default: Default | None, serializer: Serializer | None) -> None:
    """Refuse what cannot be called, before the first record finds out."""
    for name, hook in (("default", default), ("serializer", serializer)):
        if hook is not None and not callable(hook):
            raise TypeError(f"{name} must be callable, and {type(hook).__name__} is not")


class PutExtras(TypedDict, total=False):
    """What `put` takes besides the payload, as keywords."""

    id: str | None
    key: bytes | str | None
    created_at: datetime | float | None
    headers: Headers | None
    topic: str | None
    expires_at: datetime | float | None
    max_age: Seconds | None
