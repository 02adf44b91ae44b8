"""Binds a port, writes it to a file, and prints datagrams until one says "end"."""

import socket
import sys
from pathlib import Path

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(300)
    port = Path(sys.argv[1])
    port.with_suffix(".new").write_text(str(receiver.getsockname()[1]))
    port.with_suffix(".new").rename(port)
    while (data := receiver.recv(65536)) != b"end":
        print(data.decode(), flush=True)
