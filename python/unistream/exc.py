"""A path of 0.1.2, thin over `unistream._compat`: what goes wrong."""

from ._compat.exc import BufferIsEmptyError, ProcessError, SendError, StreamIsClosedError

__all__ = ["BufferIsEmptyError", "ProcessError", "SendError", "StreamIsClosedError"]
