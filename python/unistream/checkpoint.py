"""A path of 0.1.2, thin over `unistream._compat`: the base of checkpoints."""

from func_args.api import REQ, BaseModel

from ._compat.abstraction import AbcCheckPoint, AbcRecord
from ._compat.checkpoint import T_POINTER, T_TRACKER, BaseCheckPoint, StatusEnum, Tracker
from ._compat.models import BetterIntEnum, DataClass
from ._compat.utils import EPOCH_STR, get_utc_now
from ._console import console as logger

__all__ = [
    "EPOCH_STR",
    "REQ",
    "T_POINTER",
    "T_TRACKER",
    "AbcCheckPoint",
    "AbcRecord",
    "BaseCheckPoint",
    "BaseModel",
    "BetterIntEnum",
    "DataClass",
    "StatusEnum",
    "Tracker",
    "get_utc_now",
    "logger",
]
