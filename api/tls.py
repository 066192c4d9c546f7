# SPDX-License-Identifier: Apache-2.0
"""The certificate of the TCP listener: read at the start, and again when its files change."""

from __future__ import annotations

import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from xdpfw.model.errors import InvalidInput

LOOK_EVERY = 1.0
"""Seconds between two looks at the files, which happen when somebody connects."""

log = logging.getLogger("xdpfw.api")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """`client_ca`: a client must show a certificate that one of these authorities signed."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    @property
    def paths(self) -> list[Path]:
        return [path for path in (self.cert, self.key, self.client_ca) if path]

    def version(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Changes when a file is replaced or written."""
        return tuple(map(_version, self.paths))

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, with Python's choice of ciphers. Raises InvalidInput, which names the file."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.cert, self.key, password=_no_password)
        except OSError as error:
            raise InvalidInput(
                f"tls_cert {self.cert} with tls_key {self.key} cannot be used: {_why(error)}. Both must be PEM, "
                "belong together, have no password, and be readable by the daemon's user"
            ) from None
        if self.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(self.client_ca)
            except OSError as error:
                raise InvalidInput(f"tls_client_ca {self.client_ca} cannot be used: {_why(error)}") from None
        return context


class Certificates:
    """What new connections are given. A file that cannot be used leaves the one before in force."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises InvalidInput."""
        self._files = files
        self._version = files.version()
        self._context = files.context()
        self._looked = time.monotonic()

    def current(self) -> ssl.SSLContext:
        if time.monotonic() - self._looked >= LOOK_EVERY:
            self.reload()
        return self._context

    def reload(self) -> None:
        """Take the files if they have changed. What is wrong with them is logged, once."""
        self._looked = time.monotonic()
        version = self._files.version()
        if version == self._version:
            return
        self._version = version
        try:
            self._context = self._files.context()
        except InvalidInput as error:
            log.error("%s; the certificate from before stays in use", error.detail)
        else:
            log.info("the certificate %s was read again", self._files.cert)


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _why(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or error).replace("_", " ").lower()
    return f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)


def _no_password() -> bytes:
    """Without this OpenSSL would ask at the terminal, and wait."""
    return b""
