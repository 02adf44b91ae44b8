"""`python -m unistream`, and the command `unistream`: the command line, which is written in Rust."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from typing import Any

from . import _native
from ._registry import register_sink


def main() -> int:
    """Run a command and return its exit code."""
    register_sink("python", python_sink)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # The command handles it itself; nothing is left for Python to raise.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.cli(sys.argv[1:])


def python_sink(place: str) -> Any:
    """Return a callable, MODULE:NAME. Unless Python runs with -P, the module may be in the current directory."""
    module, _, name = place.rpartition(":")
    if not module or not name:
        raise ValueError("the URL is python:MODULE:NAME")
    here = []
    if not sys.flags.safe_path:
        with contextlib.suppress(OSError):
            here.append(os.getcwd())  # noqa: PTH109 sys.path holds text
    # Behind all else, and for this import only: a file that lies about must not be taken for a module of the library.
    sys.path.extend(here)
    try:
        return getattr(importlib.import_module(module), name)
    finally:
        sys.path[:] = [entry for entry in sys.path if not any(entry is added for added in here)]


if __name__ == "__main__":
    sys.exit(main())
