"""Time."""

from datetime import UTC, datetime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EPOCH_STR = EPOCH.isoformat()


def get_utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)
