"""A path of 0.1.2, thin over `unistream._compat`: the base of records."""

from ._compat.abstraction import AbcRecord
from ._compat.records import BaseRecord

__all__ = ["AbcRecord", "BaseRecord"]
