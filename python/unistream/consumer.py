"""A path of 0.1.2, thin over `unistream._compat`: the base of consumers."""

from func_args.api import REQ, BaseModel

from ._compat.abstraction import AbcConsumer, AbcRecord
from ._compat.checkpoint import T_POINTER, BaseCheckPoint, StatusEnum
from ._compat.consumer import BaseConsumer, RetryError
from ._compat.exc import StreamIsClosedError
from ._console import console as logger

__all__ = [
    "REQ",
    "T_POINTER",
    "AbcConsumer",
    "AbcRecord",
    "BaseCheckPoint",
    "BaseConsumer",
    "BaseModel",
    "RetryError",
    "StatusEnum",
    "StreamIsClosedError",
    "logger",
]
