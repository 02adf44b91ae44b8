"""The engine's events as log records of the logger `unistream`.

A handler that puts into the same producer is refused (`Reentrant`): keep the logger `unistream` away from it.
"""

from __future__ import annotations

import logging

logger = logging.getLogger("unistream")


def log(level: int, message: str, error: BaseException | None) -> None:
    """Log an event. Called by the engine on the thread of the event, with no lock held."""
    logger.log(level, "%s", message, exc_info=error)
