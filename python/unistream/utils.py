"""A path of 0.1.2, thin over `unistream._compat`: time."""

from ._compat.utils import EPOCH, EPOCH_STR, get_utc_now

__all__ = ["EPOCH", "EPOCH_STR", "get_utc_now"]
