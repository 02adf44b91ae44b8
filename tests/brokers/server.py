"""A server of a broker behind a proxy: killed, paused, cut off and started again."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from proxy import Proxy

START = 60.0
"""Seconds within which a server listens."""


class Server:
    """A server of a broker on a port of loopback, and a proxy before it, whose port clients are told."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        proxy: Proxy,
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.command = list(command)
        self.port = port
        self.proxy = proxy
        self.log = log
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start it; `wait` waits until it listens."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                start_new_session=True,
            )

    def wait(self) -> None:
        deadline = time.monotonic() + START
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self.process is not None
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def start(self) -> None:
        self.spawn()
        self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Signal it and all that it started."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        self.kill()
        self.proxy.close()
