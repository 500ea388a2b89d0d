"""HTTPS: with certificates from files, which can be renewed while the server runs, and with nothing but a reason without them."""

from __future__ import annotations

import datetime
import os
import signal
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.patience import PATIENCE, eventually
from tests.server.running import fresh

from pelton.client import Client
from pelton.server.config import Config, ConfigError, load
from pelton.server.tls import Tls, tls


def certificate(folder: Path, name: str = "one", password: bytes = b"") -> tuple[str, str]:
    """Files of a new certificate for this machine and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    return str(paths[0]), str(paths[1])


def shown(port: int, trusted: str) -> str:
    """Whose certificate the server shows; "" if it is not the one that is trusted."""
    context = ssl.create_default_context(cafile=trusted)
    try:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as line,
        ):
            found: Any = line.getpeercert()
    except ssl.SSLCertVerificationError:
        return ""
    return str(dict(part[0] for part in found["subject"])["commonName"])


def test_a_server_with_a_certificate_speaks_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pem, key = certificate(tmp_path)
    process = fresh(tmp_path / "data", "--tls-cert", pem, "--tls-key", key)
    try:
        assert process.address.startswith("https://127.0.0.1:")
        port = int(process.address.rpartition(":")[2])
        url = f"https://localhost:{port}"
        event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
        with httpx.Client(verify=ssl.create_default_context(cafile=pem)) as caller:
            assert caller.get(f"{url}/health").json()["healthy"]
            posted = caller.post(f"{url}/v1/events", json=event, headers={"content-type": "application/cloudevents+json"})
            assert posted.status_code == 201
        monkeypatch.setenv("SSL_CERT_FILE", pem)
        with Client(url) as client:
            assert [each.id for each in client.events().events] == ["1"]
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{url}/health")  # who does not know the certificate
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
            plain.settimeout(PATIENCE)
            assert not plain.recv(1_000).startswith(b"HTTP/1.1 200")
        for junk in (b"\x16\x03\x01\xff\xff" + b"a" * 100, b"\r\n\r\n", b""):
            with socket.create_connection(("127.0.0.1", port)) as plain:
                plain.sendall(junk)
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]  # which never shake hands
        assert shown(port, pem) == "one"
        renewed, new_key = certificate(tmp_path, "two")
        Path(renewed).replace(pem)
        Path(new_key).replace(key)
        os.kill(process.pid, signal.SIGHUP)
        eventually(lambda: shown(port, pem) == "two", "the renewed certificate is shown")
        for each in idle:
            each.close()
    finally:
        assert process.stop() == 0
    assert not [line for line in process.log if '"level":"error"' in line]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda pem, key: Path(key).unlink(), "--tls-key"),
        (lambda pem, key: Path(pem).write_text("no certificate"), "must be PEM files"),
        (lambda pem, key: Path(key).write_text("no key"), "must be PEM files"),
        (lambda pem, key: certificate(Path(pem).parent, password=b"hidden"), "without a password"),
        (lambda pem, key: Path(certificate(Path(pem).parent, "other")[1]).replace(key), "belong to each other"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, spoil: object, says: str) -> None:
    pem, key = certificate(tmp_path)
    working = Tls(pem, key)
    assert callable(spoil)
    spoil(pem, key)
    with pytest.raises(ConfigError, match=says):
        tls(Config(tls_cert=pem, tls_key=key))
    working.reload()  # says so in the log, and goes on with what it has


@pytest.mark.parametrize(("given", "missing"), [("tls_cert", "--tls-key"), ("tls_key", "--tls-cert")])
def test_one_file_is_not_enough(given: str, missing: str) -> None:
    with pytest.raises(ConfigError, match=missing):
        load({given: "file"}, {})
