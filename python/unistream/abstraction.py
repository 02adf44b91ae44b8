"""A path of 0.1.2, thin over `unistream._compat`: what everything must be able to do."""

from ._compat.abstraction import (
    T_BUFFER,
    T_CHECK_POINT,
    T_CONSUMER,
    T_PRODUCER,
    T_RECORD,
    AbcBuffer,
    AbcCheckPoint,
    AbcConsumer,
    AbcProducer,
    AbcRecord,
)

__all__ = [
    "T_BUFFER",
    "T_CHECK_POINT",
    "T_CONSUMER",
    "T_PRODUCER",
    "T_RECORD",
    "AbcBuffer",
    "AbcCheckPoint",
    "AbcConsumer",
    "AbcProducer",
    "AbcRecord",
]
