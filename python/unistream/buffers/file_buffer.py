"""A path of 0.1.2, thin over `unistream._compat`: a buffer in local files."""

from .._compat.abstraction import AbcRecord
from .._compat.exc import BufferIsEmptyError
from .._compat.file_buffer import BaseBuffer, FileBuffer

__all__ = ["AbcRecord", "BaseBuffer", "BufferIsEmptyError", "FileBuffer"]
