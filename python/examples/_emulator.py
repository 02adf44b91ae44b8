"""An emulator of AWS for the examples: moto's server on a free port of loopback, for as long as a block lasts.

It needs the packages `moto`, `flask`, `flask-cors` and `boto3`.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator


@contextlib.contextmanager
def emulator() -> Generator[None]:
    """Run the emulator and lead the AWS tools of this process to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("moto did not start; pip install boto3 moto flask flask-cors") from None
                time.sleep(0.05)
        os.environ.update(
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
            AWS_DEFAULT_REGION="us-east-1",
            AWS_ACCESS_KEY_ID="example",
            AWS_SECRET_ACCESS_KEY="example",
        )
        yield
    finally:
        process.terminate()
        process.wait()
