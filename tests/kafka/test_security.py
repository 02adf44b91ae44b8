"""TLS, and every way to say who we are, to Apache Kafka."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cluster import Cluster, running
from conftest import JARS, run
from cryptography.hazmat.primitives import serialization

pytestmark = pytest.mark.skipif(not JARS.exists(), reason="Java 17 and Maven are missing, and so is Kafka")

LIFETIME = 6
"""Seconds for which a broker believes an authentication."""


class Secured:
    """A cluster that asks who is there, over TLS."""

    def __init__(self, cluster: Cluster, place: Path) -> None:
        self.cluster = cluster
        self.ca = place / "ca.pem"
        self.client = place / "client.pem"

    def url(self, topic: str, options: str) -> str:
        return f"kafka://{self.cluster.brokers}/{topic}?tls=true&ca_bundle={self.ca}&{options}"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    place = tmp_path_factory.mktemp("secured")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(place / "ca.pem"))
    for name, file in (("localhost", "server.pem"), ("client", "client.pem")):
        issued = authority.issue_cert(name)
        # Java reads keys in PKCS #8 alone.
        key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (place / file).write_bytes(key + b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    login = "org.apache.kafka.common.security"
    of = "listener.name.client."
    more = {
        "client.protocol": "SASL_SSL",
        f"{of}sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        f"{of}plain.sasl.jaas.config": f'{login}.plain.PlainLoginModule required user_alice="plain-secret";',
        f"{of}scram-sha-256.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
        f"{of}scram-sha-512.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
        f"{of}oauthbearer.sasl.jaas.config": f"{login}.oauthbearer.OAuthBearerLoginModule required "
        'unsecuredLoginStringClaim_sub="broker";',
        f"{of}ssl.keystore.type": "PEM",
        f"{of}ssl.keystore.location": str(place / "server.pem"),
        f"{of}ssl.truststore.type": "PEM",
        f"{of}ssl.truststore.location": str(place / "ca.pem"),
        f"{of}ssl.client.auth": "requested",
        f"{of}connections.max.reauth.ms": str(LIFETIME * 1000),
    }
    scram = {"SCRAM-SHA-256": "scram-secret", "SCRAM-SHA-512": "scram-secret"}
    with running(place / "kafka", JARS, 1, more, scram) as cluster:
        yield Secured(cluster, place)


def token() -> str:
    """Make a token that nobody has signed, which brokers believe where they are not told how to verify."""

    def part(of: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(of).encode()).decode().rstrip("=")

    now = int(time.time())
    return f"{part({'alg': 'none'})}.{part({'sub': 'alice', 'iat': now, 'exp': now + 3600})}."


WAYS = {
    "plain": ("username=alice&password_file=", "plain-secret"),
    "scram-sha-256": ("username=alice&password_file=", "scram-secret"),
    "scram-sha-512": ("username=alice&password_file=", "scram-secret"),
    "oauthbearer": ("token_file=", ""),
}


@pytest.mark.parametrize("way", WAYS)
def test_who_we_are(tmp_path: Path, secured: Secured, way: str) -> None:
    topic = secured.cluster.create(f"by-{way}")
    options, secret = WAYS[way]
    kept = tmp_path / "secret"
    kept.write_text("wrong-secret\n")
    (tmp_path / "in").write_text("".join(f"{n}\n" for n in range(100)))
    url = secured.url(topic, f"sasl={way}&{options}{kept}")
    arguments = ("put", tmp_path / "outbox", tmp_path / "in", "--to", url, "--timeout")
    done = run(*arguments, "2")
    assert done.returncode == 3, done.stderr
    assert "AUTHENTICATION_FAILED" in done.stderr or "refused" in done.stderr, done.stderr
    assert "wrong-secret" not in done.stderr
    # The file is read anew.
    kept.write_text(f"{secret or token()}\n")
    done = run(*arguments, "60")
    assert done.returncode == 0, done.stderr
    assert len(list(secured.cluster.read(topic))) == 100


def test_a_connection_that_is_good_for_some_seconds_is_made_anew_in_time(tmp_path: Path, secured: Secured) -> None:
    topic = secured.cluster.create("long")
    kept = tmp_path / "secret"
    kept.write_text("plain-secret")
    count = LIFETIME * 200
    (tmp_path / "in").write_text("".join(f"{n}\n" for n in range(count)))
    url = secured.url(topic, f"sasl=plain&username=alice&password_file={kept}")
    slowly = ("-o", "max_rate_records=100", "-o", "max_records=10")
    done = run("put", tmp_path / "outbox", tmp_path / "in", "--to", url, "--timeout", "60", *slowly)
    assert done.returncode == 0, done.stderr
    assert "unavailable" not in done.stderr, "a connection was used for too long"
    assert len(list(secured.cluster.read(topic))) == count


def test_what_is_wrong_is_said(tmp_path: Path, secured: Secured) -> None:
    kept = tmp_path / "secret"
    kept.write_text("plain-secret")
    (tmp_path / "in").write_text("x\n")
    brokers = secured.cluster.brokers
    plain = f"sasl=plain&username=alice&password_file={kept}"
    for name, url, words in [
        ("trust", f"kafka://{brokers}/t?tls=true&{plain}", "certificate"),
        ("host", secured.url("t", plain).replace("localhost", "127.0.0.1"), "certificate"),
        ("no-tls", f"kafka://{brokers}/t?{plain}", "ApiVersions"),
        ("no-user", secured.url("t", "timeout=2"), ""),
    ]:
        done = run("put", tmp_path / name, tmp_path / "in", "--to", url, "--timeout", "2")
        assert done.returncode == 3, (name, done.stderr)
        assert words in done.stderr.replace("Certificate", "certificate"), (name, done.stderr)
        assert "plain-secret" not in done.stderr
