"""A path of 0.1.2, thin over `unistream._compat`: what prints, if `verbose` is set."""

from ._console import console as logger

__all__ = ["logger"]
