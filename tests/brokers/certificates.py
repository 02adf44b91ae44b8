"""An authority of the tests, a server's certificate for 127.0.0.1, and a client's."""

import subprocess
from pathlib import Path


def certificates(place: Path) -> Path:
    """Make them in a new directory: `ca.pem`, `server.pem`, `server.key`, `client.pem`, `client.key`."""
    place.mkdir()

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)

    key_options = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    openssl("req", "-x509", *key_options, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    for name in ("server", "client"):
        sign = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        ours = ("-addext", "basicConstraints=critical,CA:FALSE", "-subj", f"/CN={name}")
        openssl("req", "-x509", *key_options, *sign, *ours, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return place
