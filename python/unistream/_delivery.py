"""Delivery reports: what became of a single record."""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from ._logging import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from . import _native


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """What became of one record, as `put_reported` and `put_confirmed` tell it.

    Attributes:
        seq: the record's sequence number, as `put` returns it.
        delivery: `"delivered"`: the sink has it. `"dead_lettered"`: the sink rejected it, or the last attempt has
            failed. `"expired"`: it was too old before it could be sent. `"dropped"`: it made room for newer ones.
            `"lost"`: its bytes were damaged on disk. `"closed"`: the producer was closed before; the record is in the
            log, and the next producer sends it, or it was delivered and the answer came too late.
        reason: why it is in the dead letters; else empty.
        receipt: what the sink says of a record that it took, such as its offset there; `None` of most sinks.
    """

    seq: int
    delivery: Literal["delivered", "dead_lettered", "expired", "dropped", "closed", "lost"]
    reason: str = ""
    receipt: str | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the sink has it."""
        return self.delivery == "delivered"


def put_reported(
    producer: _native.Producer,
    data: Any,
    on_report: Callable[[DeliveryReport], object] | None,
    extras: dict[str, Any],
) -> concurrent.futures.Future[DeliveryReport]:
    """Put a record and return what becomes of it."""
    future: concurrent.futures.Future[DeliveryReport] = concurrent.futures.Future()
    # A record that is in the log cannot be taken back.
    future.set_running_or_notify_cancel()

    def tell(seq: int, delivery: Any, reason: str, receipt: str | None) -> None:
        report = DeliveryReport(seq=seq, delivery=delivery, reason=reason, receipt=receipt)
        future.set_result(report)
        if on_report is not None:
            try:
                on_report(report)
            except Exception:  # noqa: BLE001, the program's own, and it is told
                logger.exception("the function that was to hear of record %d has failed", seq)

    reporting = producer._reporting()
    try:
        seq = producer.put(data, **extras)
    except BaseException:
        reporting.cancel()
        raise
    reporting.attach(seq, tell)
    return future


async def confirmed(future: concurrent.futures.Future[DeliveryReport]) -> DeliveryReport:
    """Wait on the running loop."""
    return await asyncio.wrap_future(future)
