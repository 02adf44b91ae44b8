"""A path of 0.1.2, thin over `unistream._compat`: records made of a dataclass."""

from func_args.api import BaseFrozenModel

from .._compat.records import T_DATA_CLASS_RECORD, BaseRecord, DataClassRecord, create_at_factory, id_factory
from .._compat.utils import get_utc_now

__all__ = [
    "T_DATA_CLASS_RECORD",
    "BaseFrozenModel",
    "BaseRecord",
    "DataClassRecord",
    "create_at_factory",
    "get_utc_now",
    "id_factory",
]
