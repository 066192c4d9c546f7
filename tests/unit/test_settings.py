# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from xdpfw import settings
from xdpfw.model.interface import AttachMode
from xdpfw.model.limits import Limits
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.settings import InvalidSettings, Settings


def test_nothing_said_gives_the_defaults() -> None:
    assert settings.from_document({}) == Settings()
    assert Settings().listen == "127.0.0.1:8484"
    assert Settings().instance_name == "default"
    assert Settings().pin_dir == Path("/sys/fs/bpf/xdpfw-default")


def test_every_field_can_be_set_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "xdpfw.toml"
    file.write_text(
        """
        listen = "[2001:db8::1]:9000"
        names = ["fw.example"]
        tls_cert = "/etc/xdpfw/cert.pem"
        tls_key = "/etc/xdpfw/key.pem"
        tls_client_ca = "/etc/xdpfw/ca.pem"
        socket = "/run/a.sock"
        state_dir = "/srv/state"
        instance = "edge-1"
        bpffs = "/mnt/bpf"
        attach = ["eth0", "eth1:native"]
        detach_on_exit = true
        on_start_failure = "drop"
        log_level = "debug"
        log_format = "json"
        management = ["192.0.2.0/24", "2001:db8::1"]
        protect_ssh = false
        [limits]
        leaves = 1000
        talkers = 1024
        """
    )
    loaded = settings.load(file)
    assert loaded == Settings(
        listen="[2001:db8::1]:9000",
        names=("fw.example",),
        tls_cert=Path("/etc/xdpfw/cert.pem"),
        tls_key=Path("/etc/xdpfw/key.pem"),
        tls_client_ca=Path("/etc/xdpfw/ca.pem"),
        socket=Path("/run/a.sock"),
        state_dir=Path("/srv/state"),
        instance="edge-1",
        bpffs=Path("/mnt/bpf"),
        attach=(("eth0", AttachMode.AUTO), ("eth1", AttachMode.NATIVE)),
        detach_on_exit=True,
        on_start_failure=Verdict.DROP,
        limits=Limits(leaves=1000, talkers=1024),
        log_level="debug",
        log_format="json",
        management=(Prefix.parse("192.0.2.0/24"), Prefix.parse("2001:db8::1")),
        protect_ssh=False,
    )
    # Nothing was left at its default, so no field is missing above.
    assert all(getattr(loaded, field.name) != getattr(Settings(), field.name) for field in fields(Settings))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('lisen = "127.0.0.1:1"', "unknown setting 'lisen'"),
        ("listen = 8484", "listen: a text is wanted"),
        ('listen = "127.0.0.1"', "is not host:port"),
        ('listen = "127.0.0.1:99999"', "is not host:port"),
        ('listen = "0.0.0.0:8484"', "can be reached from other machines"),
        ('listen = "[::]:8484"', "can be reached from other machines"),
        ('listen = "192.0.2.1:8484"\ntls_cert = "a"', "belong together"),
        ('tls_key = "a"', "belong together"),
        ('tls_client_ca = "a"', "tls_client_ca: there are no client certificates"),
        ('listen = "example:8484"', "is not an IP address"),
        ('attach = "eth0"', "attach: a list"),
        ('attach = ["eth0:turbo"]', "'turbo' is no mode"),
        ('attach = ["eth0:"]', "'' is no mode"),
        ('attach = ["a/b"]', "cannot be the name of an interface"),
        ('attach = ["interface0123456"]', "cannot be the name of an interface"),
        ('instance = "../x"', "instance:"),
        ("detach_on_exit = 1", "detach_on_exit: true or false"),
        ('on_start_failure = "closed"', "on_start_failure: pass or drop"),
        ('log_level = "loud"', "log_level: one of"),
        ('log_format = "xml"', "log_format: one of"),
        ('management = ["10.0.0.1/8"]', "did you mean 10.0.0.0/8"),
        ("limits = 5", "limits: a table"),
        ("[limits]\nleafs = 5", "unknown setting limits.leafs"),
        ("[limits]\nleaves = 0", "limits.leaves: a number from 1"),
        ("[limits]\nleaves = true", "limits.leaves: a number from 1"),
        ("[limits]\ntalkers = 1000", "limits.talkers: a power of two"),
        ("listen = ", "is not TOML"),
    ],
)
def test_what_cannot_be_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "xdpfw.toml"
    file.write_text(text)
    with pytest.raises(InvalidSettings) as caught:
        settings.load(file)
    assert message in caught.value.detail
    assert str(file) in caught.value.detail


def test_the_command_line_cannot_open_what_the_file_keeps_closed() -> None:
    """What is checked is the outcome of both."""
    with pytest.raises(InvalidSettings, match="other machines"):
        settings.from_document({"listen": "0.0.0.0:1"}, settings.from_document({"listen": "none"}))
    base = settings.from_document({"tls_cert": "a", "tls_key": "b"})
    assert settings.from_document({"listen": "0.0.0.0:1"}, base).listen == "0.0.0.0:1"


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        settings.load(tmp_path / "absent.toml")


def test_tcp_can_be_turned_off() -> None:
    assert settings.parse_listen("none") is None
    assert settings.parse_listen("127.0.0.2:1") == "127.0.0.2:1"


def test_an_instance_follows_from_its_state_directory(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "state", tmp_path / "b" / "state"
    assert settings.instance_of(one) == settings.instance_of(one / ".." / "state")
    assert settings.instance_of(one) != settings.instance_of(other)
    assert settings.parse_instance(settings.instance_of(Path("/odd name.d")))
    assert settings.parse_instance(settings.instance_of(Path("/")))
