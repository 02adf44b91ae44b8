"""A path of 0.1.2, thin over `unistream._compat`: a checkpoint in local files."""

from func_args.api import REQ

from .._compat.abstraction import AbcRecord
from .._compat.checkpoint import T_POINTER, BaseCheckPoint, Tracker
from .._compat.simple_checkpoint import SimpleCheckpoint

__all__ = ["REQ", "T_POINTER", "AbcRecord", "BaseCheckPoint", "SimpleCheckpoint", "Tracker"]
