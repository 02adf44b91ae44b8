"""A path of 0.1.2, thin over `unistream._compat`: the base of producers."""

from func_args.api import REQ, BaseModel

from ._compat.abstraction import AbcBuffer, AbcProducer, AbcRecord
from ._compat.producer import BaseProducer, RetryConfig
from ._compat.utils import get_utc_now
from ._console import console as logger

__all__ = [
    "REQ",
    "AbcBuffer",
    "AbcProducer",
    "AbcRecord",
    "BaseModel",
    "BaseProducer",
    "RetryConfig",
    "get_utc_now",
    "logger",
]
