"""A path of 0.1.2, thin over `unistream._compat`: a producer for a local file."""

from func_args.api import REQ

from .._compat.abstraction import AbcBuffer, AbcRecord
from .._compat.producer import BaseProducer, RetryConfig, SimpleProducer

__all__ = ["REQ", "AbcBuffer", "AbcRecord", "BaseProducer", "RetryConfig", "SimpleProducer"]
