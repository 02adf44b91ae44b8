"""What goes wrong."""

from .published import at


@at("unistream.exc")
class BufferIsEmptyError(IndexError):
    """There is nothing to emit or to commit."""


@at("unistream.exc")
class SendError(Exception):
    """A producer's `send` raises it, or any other exception, when the records were not sent."""


@at("unistream.exc")
class ProcessError(Exception):
    """A consumer's `process_record` raises it, or any other exception, when the record was not processed."""


@at("unistream.exc")
class StreamIsClosedError(Exception):
    """A stream has come to its end: it gives no more records, and is not merely out of reach."""
