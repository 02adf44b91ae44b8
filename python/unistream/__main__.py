"""`python -m unistream`, and the command `unistream`: the command line, which is written in Rust."""

import signal
import sys

from . import _native


def main() -> int:
    """Run a command and return its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # The command handles it itself; nothing is left for Python to raise.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.cli(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
