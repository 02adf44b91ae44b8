"""What `put(..., verbose=True)` prints."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from . import _native
from ._console import console, printable
from ._payload import Payload

if TYPE_CHECKING:
    from ._options import Seconds
    from ._payload import Headers


def put(
    producer: _native.Producer,
    data: Payload,
    *,
    id: str | None,
    key: bytes | str | None,
    created_at: datetime | float | None,
    headers: Headers | None,
    topic: str | None,
    expires_at: datetime | float | None,
    max_age: Seconds | None,
) -> int:
    """Put a record and print what happens to it and, in inline mode, to the batch that is sent meanwhile."""
    payload, own_id = producer._encode(data)
    id = own_id if id is None else id
    return _put(producer, payload, id, key, created_at, headers, topic, expires_at, max_age)


@console.emoji_block(msg="put record", emoji="📤")
def _put(
    producer: _native.Producer,
    payload: bytes,
    id: str | None,
    key: bytes | str | None,
    created_at: datetime | float | None,
    headers: Headers | None,
    topic: str | None,
    expires_at: datetime | float | None,
    max_age: Seconds | None,
) -> int:
    record(payload)
    return producer._put_watched(tell, payload, id, key, created_at, headers, topic, expires_at, max_age)


def record(payload: bytes) -> None:
    """Print a record: text as it is, other bytes as Python writes them."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = repr(payload)
    console.info(f"record = {printable(text)}")


def tell(event: str, value: object = None) -> None:
    """Print an event of the engine."""
    match event:
        case "on_hold":
            console.info("🚫 on hold due to exponential backoff")
        case "should_not_emit":
            console.info("🚫 we should not emit")
        case "send_started":
            console.info(f"📤 send records: {value}")
        case "send_failed":
            console.info(f"🔴 failed, error: {value!r}")
        case "send_succeeded":
            console.info("🟢 succeeded")
        case "skipped":
            console.info("💀 skipped: the batch is in the dead letters")
        case _:
            pass
