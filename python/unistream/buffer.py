"""A path of 0.1.2, thin over `unistream._compat`: the base of buffers."""

from ._compat.abstraction import AbcBuffer
from ._compat.file_buffer import BaseBuffer

__all__ = ["AbcBuffer", "BaseBuffer"]
