# SPDX-License-Identifier: Apache-2.0
"""TLS on the TCP listener: certificates, clients' certificates, new files while it runs, hands never shaken."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api import tls
from api.lobby import Room
from api.tls import Certificates, TlsFiles
from cli.main import main as cli
from lab.waiting import eventually
from tests.api.conftest import Api, Host, behind, fake_server, ok
from tests.conftest import lacks
from xdpfw.model.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates, in a directory."""

    home: Path

    @property
    def cert(self) -> Path:
        return self.home / "ca.pem"

    def sign(self, name: str, alternative: str = "IP:127.0.0.1,DNS:fw.example") -> TlsFiles:
        made = TlsFiles(self.home / f"{name}.pem", self.home / f"{name}.key", self.cert)
        extension = self.home / f"{name}.ext"
        extension.write_text(f"subjectAltName={alternative}\n")
        request = self.home / f"{name}.csr"
        openssl("req", "-new", *NEW_KEY, made.key, "-subj", f"/CN={name}", "-out", request)
        by = ("-CA", self.cert, "-CAkey", self.home / "ca.key", "-CAcreateserial")
        openssl("x509", "-req", "-in", request, *by, "-days", "2", "-extfile", extension, "-out", made.cert)
        return made


NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout")


def openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        lacks("no openssl; script/bootstrap --test installs it")
    made = Authority(tmp_path_factory.mktemp("ca"))
    openssl("req", "-x509", *NEW_KEY, made.home / "ca.key", "-subj", "/CN=ca", "-days", "2", "-out", made.cert)
    return made


@pytest.fixture(scope="module")
def files(authority: Authority) -> TlsFiles:
    signed = authority.sign("server")
    return TlsFiles(signed.cert, signed.key)


@pytest.fixture(scope="module")
def tls_host(files: TlsFiles) -> Iterator[Host]:
    with fake_server(tls=Certificates(files), room=Room(per_peer=8)) as host:
        yield host


@pytest.fixture
def api(tls_host: Host) -> Iterator[Api]:
    with behind(tls_host) as api:
        yield api


def token(api: Api) -> dict[str, str]:
    """Made over the unix socket, which speaks no TLS."""
    secret = ok(api.client.post("tokens", json={"name": "n", "role": "read"})).json()["secret"]
    return {"Authorization": f"Bearer {secret}"}


def status(api: Api, verify: ssl.SSLContext, **headers: str) -> httpx.Response:
    url = f"https://127.0.0.1:{api.host.port}/api/v1/status"
    return httpx.get(url, verify=verify, headers=token(api) | headers, timeout=10)


def trusting(authority: Authority, client: TlsFiles | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.cert))
    if client:
        context.load_cert_chain(client.cert, client.key)
    return context


def test_the_listener_speaks_tls_and_nothing_else(api: Api, authority: Authority) -> None:
    assert ok(status(api, trusting(authority))).json()["ready"] is True
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{api.host.port}/healthz", timeout=10)
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        status(api, ssl.create_default_context())


def test_a_token_is_needed_all_the_same(api: Api, authority: Authority) -> None:
    assert status(api, trusting(authority), Authorization="Bearer nothing").status_code == 401


def test_old_versions_are_refused(api: Api, authority: Authority) -> None:
    context = trusting(authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(httpx.ConnectError):
        status(api, context)


def test_host_names_are_checked_behind_tls_too(api: Api, authority: Authority) -> None:
    assert status(api, trusting(authority), Host="evil.example").status_code == 403


def test_a_page_of_the_server_may_call_it(api: Api, authority: Authority) -> None:
    ok(status(api, trusting(authority), Origin=f"https://127.0.0.1:{api.host.port}"))
    assert status(api, trusting(authority), Origin="https://evil.example").status_code == 403


def test_hands_that_are_never_shaken_do_not_starve_others(api: Api, authority: Authority) -> None:
    with ExitStack() as stack:
        for _ in range(40):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", api.host.port), timeout=10))
            silent.send(b"\x16\x03\x01")  # the beginning of a ClientHello
        ok(status(api, trusting(authority)))


def test_clients_show_a_certificate_where_one_is_wanted(authority: Authority) -> None:
    with fake_server(tls=Certificates(authority.sign("strict"))) as host, behind(host) as api:
        ok(status(api, trusting(authority, authority.sign("client"))))
        with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
            status(api, trusting(authority))
        stranger = TlsFiles(authority.home / "stranger.pem", authority.home / "stranger.key")
        openssl("req", "-x509", *NEW_KEY, stranger.key, "-subj", "/CN=stranger", "-days", "2", "-out", stranger.cert)
        with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
            status(api, trusting(authority, stranger))


def serial(port: int, authority: Authority) -> str:
    """Of the certificate that new connections are shown."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        trusting(authority).wrap_socket(plain, server_hostname="127.0.0.1") as shaken,
    ):
        shown = shaken.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def test_new_files_are_taken_while_it_runs(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "LOOK_EVERY", 0.0)
    first, second = authority.sign("renewed"), authority.sign("renewal")
    files = TlsFiles(first.cert, first.key)
    with fake_server(tls=Certificates(files)) as host:
        before = serial(host.port, authority)
        # half of a renewal: a certificate to which the key does not belong
        first.cert.write_bytes(second.cert.read_bytes())
        assert serial(host.port, authority) == before
        assert "stays in use" in caplog.text
        first.key.write_bytes(second.key.read_bytes())
        after = eventually(lambda: serial(host.port, authority), "a certificate is shown")
        assert after != before
        first.key.unlink()
        assert serial(host.port, authority) == after


def test_the_command_line_over_tls(
    api: Api, authority: Authority, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDPFW_URL", f"https://127.0.0.1:{api.host.port}")
    monkeypatch.setenv("XDPFW_TOKEN", token(api)["Authorization"].removeprefix("Bearer "))
    assert cli(["list"]) == 6
    assert "SSL_CERT_FILE" in capsys.readouterr().err
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
    assert cli(["list"]) == 0
    with fake_server(tls=Certificates(authority.sign("strict"))) as host, behind(host) as strict:
        monkeypatch.setenv("XDPFW_URL", f"https://127.0.0.1:{host.port}")
        monkeypatch.setenv("XDPFW_TOKEN", token(strict)["Authorization"].removeprefix("Bearer "))
        assert cli(["list"]) == 5
        client = authority.sign("cli")
        both = authority.home / "both.pem"
        both.write_bytes(client.cert.read_bytes() + client.key.read_bytes())
        monkeypatch.setenv("XDPFW_CLIENT_CERT", str(both))
        assert cli(["list"]) == 0
        monkeypatch.setenv("XDPFW_CLIENT_CERT", str(client.key))
        assert cli(["list"]) == 2


@pytest.mark.parametrize("broken", ["absent", "empty", "other key", "password", "ca"])
def test_files_that_cannot_be_used_are_named(
    authority: Authority, files: TlsFiles, tmp_path: Path, broken: str
) -> None:
    cert, key, authorities = tmp_path / "cert.pem", tmp_path / "key.pem", None
    shutil.copy(files.cert, cert)
    shutil.copy(files.key, key)
    if broken == "absent":
        key.unlink()
    elif broken == "empty":
        cert.write_text("")
    elif broken == "other key":
        shutil.copy(authority.home / "ca.key", key)
    elif broken == "password":
        openssl("ec", "-in", files.key, "-aes256", "-passout", "pass:secret", "-out", key)
    else:
        authorities = tmp_path / "none.pem"
    with pytest.raises(InvalidInput, match=re.escape(str(authorities or cert))):
        TlsFiles(cert, key, authorities).context()


def test_the_unix_socket_stays_plain(api: Api) -> None:
    ok(api.client.get("status"))
