"""A path of 0.1.2, thin over `unistream._compat`: a consumer of a local file."""

from func_args.api import REQ

from .._compat.abstraction import AbcRecord
from .._compat.checkpoint import T_POINTER, BaseCheckPoint
from .._compat.consumer import BaseConsumer, SimpleConsumer

__all__ = ["REQ", "T_POINTER", "AbcRecord", "BaseCheckPoint", "BaseConsumer", "SimpleConsumer"]
