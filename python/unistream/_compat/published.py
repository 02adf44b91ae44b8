"""Where programs find a class."""

from collections.abc import Callable
from typing import TypeVar

C = TypeVar("C", bound=type)


def at(path: str) -> Callable[[C], C]:
    """Name a class by the module at which programs find it: pickles of 0.1.2 and of this version are then the same.

    The annotations of such a class must be objects: a text would be looked up in that module.
    """

    def name(published: C) -> C:
        published.__module__ = path
        return published

    return name
