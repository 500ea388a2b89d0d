"""TLS for the HTTP port: a certificate and its key from files, which are read again when the server is told to (SIGHUP), so that
a renewed certificate serves new connections without a restart."""

from __future__ import annotations

import ssl
from pathlib import Path

import structlog

from pelton.server.config import Config, ConfigError

_log = structlog.get_logger("pelton.server")


class Tls:
    """`context`: for the listener. Raises ConfigError when the files cannot be used."""

    def __init__(self, certificate: str, key: str) -> None:
        self._certificate, self._key = certificate, key
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._load(self.context)

    def _load(self, context: ssl.SSLContext) -> None:
        for option, file in (("--tls-cert", self._certificate), ("--tls-key", self._key)):
            try:
                Path(file).read_bytes()
            except OSError as error:
                raise ConfigError(f"{option} {file!r} cannot be read: {error.strerror or error}; correct the path") from None
        try:
            # Without a password: OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self._certificate, self._key, password=lambda: "")
        except (ssl.SSLError, ValueError) as error:
            why = getattr(error, "reason", None) or error
            raise ConfigError(
                f"--tls-cert {self._certificate!r} and --tls-key {self._key!r} cannot be used together: {why}; they must be PEM "
                "files, the key's without a password, and belong to each other"
            ) from None

    def reload(self) -> None:
        """Reads the files again. If they cannot be used, what was read before stays, and the log says so."""
        try:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load(self.context)
        except ConfigError as error:
            _log.error("the certificate was not read again", error=str(error))
        else:
            _log.info("the certificate was read again", certificate=self._certificate)


def tls(config: Config) -> Tls | None:
    """None if the server is to speak plain HTTP. Raises ConfigError."""
    if not config.tls_cert:
        return None
    return Tls(config.tls_cert, config.tls_key)
