"""A proxy for TCP that can reset what it forwards, or forward nothing for a while, as a network does that is cut."""

import socket
import struct
import threading
from contextlib import suppress

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for 0 seconds, so that closing sends RST."""


class Proxy:
    """Forwards every connection to a port of loopback."""

    def __init__(self, target: int, port: int = 0) -> None:
        self.target = target
        self._open = threading.Event()
        self._open.set()
        self._answers = threading.Event()
        self._answers.set()
        self._last_word = b""
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Forward nothing from now on, and tell nobody; connections can be made, and stay silent."""
        self._open.clear()

    def mute(self) -> None:
        """Forward what clients say, and no answers from now on."""
        self._answers.clear()

    def mute_after(self, word: bytes) -> None:
        """Forward no answers from when a client says this."""
        self._last_word = word

    def mend(self) -> None:
        """Forward again, what waited first."""
        self._last_word = b""
        self._open.set()
        self._answers.set()

    def reset(self) -> None:
        """End every connection by RST, in both directions."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    def close(self) -> None:
        # Wakes the thread in `accept`, which closing alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.mend()
        self.reset()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.wait()
        try:
            server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (client, server)
        with self._lock:
            self._pairs.add(pair)
        back = threading.Thread(target=self._pump, args=(server, client, self._answers), daemon=True)
        back.start()
        self._pump(client, server, self._open)
        back.join()
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            end.close()

    def _pump(self, source: socket.socket, sink: socket.socket, gate: threading.Event) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait()
                if gate is self._open and self._last_word and self._last_word in data:
                    self.mute()
                gate.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            self._end((source, sink))

    @staticmethod
    def _end(pair: tuple[socket.socket, socket.socket]) -> None:
        for end in pair:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
