"""The engine's events as log records of the logger `unistream`.

A handler that puts into the same producer is refused (`Reentrant`): keep the logger `unistream` away from it.
"""

from __future__ import annotations

import logging
import traceback

from ._console import printable

logger = logging.getLogger("unistream")


def log(level: int, message: str, error: BaseException | None) -> None:
    """Log an event. Called by the engine on the thread of the event, with no lock held."""
    logger.log(level, "%s", message, exc_info=error)


def _escape(record: logging.LogRecord) -> bool:
    """Make a message one line, and indent a traceback: what a service says must not look like another message."""
    record.msg, record.args = printable(record.getMessage()), ()
    if record.exc_info:
        lines = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n").split("\n")
        record.exc_text = "\n".join(f"  | {printable(line)}" for line in lines)
    return True


logger.addFilter(_escape)
