"""Dataclasses that are read back from JSON with the dataclasses inside them, and enumerations of numbers."""

import dataclasses
import enum
from typing import Any, Self

_CONVERTER = "unistream_converter"
"""The key in a field's metadata at which the function stands that makes the field's value out of JSON."""


def _as_it_is(value: Any) -> Any:
    return value


def _field_maker(converter: str, doc: str) -> Any:
    """Return a class method that makes a field whose value the class's method `converter` makes out of JSON."""

    def make(
        cls: type[Any],
        /,
        default: Any = dataclasses.MISSING,
        default_factory: Any = dataclasses.MISSING,
        init: bool = True,
        repr: bool = True,
        hash: bool | None = None,
        compare: bool = True,
        metadata: Any = None,
        **kwargs: Any,
    ) -> Any:
        # A default and a factory that are not given are left out, so that a name in `kwargs` meets no second one.
        given = {"default": default, "default_factory": default_factory}
        given = {name: value for name, value in given.items() if value is not dataclasses.MISSING}
        return dataclasses.field(
            init=init,
            repr=repr,
            hash=hash,
            compare=compare,
            metadata={**(metadata or {}), _CONVERTER: getattr(cls, converter)},
            **given,
            **kwargs,
        )

    make.__doc__ = doc
    return classmethod(make)


class DataClass:
    """A dataclass whose fields may hold other such dataclasses, alone, in lists or in dicts."""

    @classmethod
    def get_fields(cls) -> dict[str, Any]:
        """Return the dataclass's fields by name."""
        this: Any = cls
        return {field.name: field for field in dataclasses.fields(this)}

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict, those of the dataclasses inside as dicts too."""
        this: Any = self
        return dataclasses.asdict(this)

    @classmethod
    def from_dict(cls, dct_or_obj: Any) -> Self | None:
        """Return the dataclass of a dict. One that is there already, or `None`, is returned as it is."""
        if dct_or_obj is None or isinstance(dct_or_obj, cls):
            return dct_or_obj
        if not isinstance(dct_or_obj, dict):
            raise TypeError(f"a dict or a {cls.__name__} is needed, not {type(dct_or_obj).__name__}")
        fields = cls.get_fields()
        return cls(
            **{name: fields[name].metadata.get(_CONVERTER, _as_it_is)(value) for name, value in dct_or_obj.items()}
        )

    @classmethod
    def from_list(cls, list_of_dct_or_obj: Any) -> list[Self | None] | None:
        """Return the dataclasses of a list of dicts."""
        if list_of_dct_or_obj is None:
            return None
        if not isinstance(list_of_dct_or_obj, list):
            raise TypeError(f"a list is needed, not {type(list_of_dct_or_obj).__name__}")
        return [cls.from_dict(item) for item in list_of_dct_or_obj]

    @classmethod
    def _from_mapper(cls, map_of_dct_or_obj: Any) -> dict[str, Self | None] | None:
        if map_of_dct_or_obj is None:
            return None
        if not isinstance(map_of_dct_or_obj, dict):
            raise TypeError(f"a dict is needed, not {type(map_of_dct_or_obj).__name__}")
        return {key: cls.from_dict(value) for key, value in map_of_dct_or_obj.items()}

    nested_field = _field_maker("from_dict", "Return a field that holds this dataclass.")
    list_of_nested_field = _field_maker("from_list", "Return a field that holds a list of this dataclass.")
    map_of_nested_field = _field_maker("_from_mapper", "Return a field that holds a dict of texts to this dataclass.")


class BetterIntEnum(int, enum.Enum):
    """An enumeration of numbers that can be asked for its names and numbers."""

    @classmethod
    def get_by_name(cls, name: str) -> Self:
        """Return the member of a name."""
        return cls[name]

    @classmethod
    def is_valid_name(cls, name: str) -> bool:
        """Whether a member has the name."""
        return name in cls.__members__

    @classmethod
    def get_names(cls) -> list[str]:
        """Return the names."""
        return [member.name for member in cls]

    @classmethod
    def get_by_value(cls, value: int) -> Self:
        """Return the member of a number."""
        return cls(value)

    @classmethod
    def is_valid_value(cls, value: int) -> bool:
        """Whether a member has the number."""
        return any(value == member.value for member in cls)

    @classmethod
    def ensure_is_valid_value(cls, value: Any) -> None:
        """Raise `ValueError` if no member has the number."""
        if not cls.is_valid_value(value):
            raise ValueError(f"Invalid {cls.__name__}: {value!r}")

    @classmethod
    def ensure_int(cls, value: Any) -> int:
        """Return the number of a member, which may be given by its number."""
        return int(cls(value).value)

    @classmethod
    def get_values(cls) -> list[int]:
        """Return the numbers."""
        return [int(member.value) for member in cls]
