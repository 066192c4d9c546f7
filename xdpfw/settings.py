# SPDX-License-Identifier: Apache-2.0
"""How a daemon is set up: defaults, a TOML file over them, the command line over both.

The file's keys are the fields of `Settings`; `attach` is a list of "IFACE" or "IFACE:MODE", `listen` may be "none",
and a table `[limits]` holds the fields of `Limits`. A key that nobody knows is an error: a misspelt setting that
is passed over in silence is found out when it is needed.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from xdpfw.model.errors import InvalidInput
from xdpfw.model.interface import AttachMode
from xdpfw.model.limits import LEAST_VECTORS, MOST_VECTORS, Limits
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict

DEFAULT_CONFIG = Path("/etc/xdpfw/xdpfw.toml")
DEFAULT_STATE_DIR = Path("/var/lib/xdpfw")
DATABASE = "xdpfw.db"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("auto", "json", "text")
# What may follow "xdpfw-" in the name of a directory of bpffs, which allows no dots.
_INSTANCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
# dev_valid_name() of the kernel: no white space, no '/' nor ':', fewer than 16 bytes.
_INTERFACE = re.compile(r"[^\s/:]{1,15}")


class InvalidSettings(InvalidInput):
    """A setting that cannot be used; the detail names it and says what would do."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`listen`: host:port of the TCP listener, None for no TCP; other than on the loopback only with `tls_cert` and
    `tls_key`. `names`: host names under which it may be called. `management`: prefixes that a change may not cut off by
    accident; `protect_ssh`: the same for the peers of established ssh connections. `on_start_failure`: what becomes of
    packets on interfaces that have no program yet when the daemon cannot start."""

    listen: str | None = "127.0.0.1:8484"
    names: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    socket: Path = Path("/run/xdpfw/xdpfw.sock")
    state_dir: Path = DEFAULT_STATE_DIR
    instance: str | None = None
    bpffs: Path = Path("/sys/fs/bpf")
    attach: tuple[tuple[str, AttachMode], ...] = ()
    detach_on_exit: bool = False
    on_start_failure: Verdict = Verdict.PASS
    limits: Limits = field(default_factory=Limits)
    log_level: str = "info"
    log_format: str = "auto"
    management: tuple[Prefix, ...] = ()
    protect_ssh: bool = True

    @property
    def instance_name(self) -> str:
        """The instance's name, given or derived from its state directory."""
        return self.instance or instance_of(self.state_dir)

    @property
    def pin_dir(self) -> Path:
        """Where everything of this instance is pinned."""
        return self.bpffs / f"xdpfw-{self.instance_name}"


def instance_of(state_dir: Path) -> str:
    """The name of the instance that lives in a state directory: the same one for the same directory, always."""
    path = state_dir.resolve()
    if path == DEFAULT_STATE_DIR:
        return "default"
    word = re.sub(r"[^A-Za-z0-9_-]", "-", path.name).lstrip("-_")[:40] or "root"
    return f"{word}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def load(path: Path | None) -> Settings:
    """Read a TOML file. Without a path the usual one is read where it exists.

    Raises InvalidSettings: unreadable, not TOML, unknown keys, or values that cannot be.
    """
    if path is None:
        if not DEFAULT_CONFIG.exists():
            return Settings()
        path = DEFAULT_CONFIG
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise InvalidSettings(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} is not TOML: {error}") from None
    try:
        return from_document(document)
    except InvalidSettings as error:
        raise InvalidSettings(f"{path}: {error.detail}") from None


def from_document(document: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """Settings with the document's keys set over `base` (the defaults). Raises InvalidSettings."""
    unknown = sorted(set(document) - set(_READERS))
    if unknown:
        raise InvalidSettings(f"unknown setting {unknown[0]!r}; there are {', '.join(sorted(_READERS))}")
    values = {key: _READERS[key](key, value) for key, value in document.items()}
    settings = replace(base or Settings(), **values)
    _check_listen(settings)
    return settings


def _check_listen(settings: Settings) -> None:
    """Raises InvalidSettings for a listener that would carry tokens in the clear, and for half a certificate."""
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise InvalidSettings("tls_cert and tls_key belong together: set both, or neither")
    if settings.tls_client_ca and not settings.tls_cert:
        raise InvalidSettings("tls_client_ca: there are no client certificates without TLS; set tls_cert and tls_key")
    host = (settings.listen or "localhost:0").rpartition(":")[0].strip("[]")
    if not settings.tls_cert and host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        raise InvalidSettings(
            f"listen: {host} can be reached from other machines, where tokens must not travel in the clear; set "
            "tls_cert and tls_key, or listen on 127.0.0.1 and put a proxy with TLS or an ssh tunnel before it"
        )


def parse_listen(text: str) -> str | None:
    """host:port; `none` for no TCP listener. Raises InvalidSettings."""
    if text == "none":
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidSettings(f"listen: {text!r} is not host:port, such as 127.0.0.1:8484 or [::1]:8484, or none")
    name = host.removeprefix("[").removesuffix("]")
    try:
        if name != "localhost":
            ipaddress.ip_address(name)
    except ValueError:
        raise InvalidSettings(f"listen: {name!r} is not an IP address; write 127.0.0.1:{port}") from None
    return text


def parse_attach(text: str) -> tuple[str, AttachMode]:
    """IFACE or IFACE:MODE. Raises InvalidSettings."""
    name, colon, word = text.partition(":")
    if not _INTERFACE.fullmatch(name) or len(name.encode()) > 15 or name in (".", ".."):
        raise InvalidSettings(f"attach: {name!r} cannot be the name of an interface")
    if colon and word not in list(AttachMode):
        raise InvalidSettings(f"attach: {word!r} is no mode; write {name}:auto, {name}:native or {name}:generic")
    return name, AttachMode(word or AttachMode.AUTO)


def parse_instance(text: str) -> str:
    """Raises InvalidSettings."""
    if not _INSTANCE.fullmatch(text):
        raise InvalidSettings(f"instance: {text!r} must be letters, digits, - and _, at most 63, no - or _ first")
    return text


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidSettings(f"{key}: a text is wanted, not {value!r}")
    return value


def _flag(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidSettings(f"{key}: true or false is wanted, not {value!r}")
    return value


def _texts(key: str, value: Any) -> list[str]:
    if not isinstance(value, list):
        raise InvalidSettings(f"{key}: a list of texts is wanted, not {value!r}")
    return [_text(key, item) for item in value]


def _one_of(*words: str) -> Callable[[str, Any], str]:
    def read(key: str, value: Any) -> str:
        if value not in words:
            raise InvalidSettings(f"{key}: one of {', '.join(words)} is wanted, not {value!r}")
        return str(value)

    return read


def _verdict(key: str, value: Any) -> Verdict:
    if value not in list(Verdict):
        raise InvalidSettings(f"{key}: pass or drop is wanted, not {value!r}")
    return Verdict(value)


def _management(key: str, value: Any) -> tuple[Prefix, ...]:
    try:
        return tuple(Prefix.parse(text) for text in _texts(key, value))
    except InvalidInput as error:
        raise InvalidSettings(f"{key}: {error.detail}") from None


def _limits(key: str, value: Any) -> Limits:
    if not isinstance(value, dict):
        raise InvalidSettings(f"{key}: a table [limits] is wanted")
    known = sorted(each.name for each in fields(Limits))
    for name, size in value.items():
        if name not in known:
            raise InvalidSettings(f"unknown setting {key}.{name}; there are {', '.join(known)}")
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size < 2**31:
            raise InvalidSettings(f"{key}.{name}: a number from 1 to {2**31 - 1:,} is wanted, not {size!r}")
    for name, least in (("talkers", 4), ("limited", 8)):
        size = value.get(name, getattr(Limits(), name))
        if size & (size - 1) or size < least:
            raise InvalidSettings(f"{key}.{name}: a power of two, at least {least}, is wanted, not {size}")
    vectors = value.get("vectors", Limits().vectors)
    if not LEAST_VECTORS <= vectors <= MOST_VECTORS:
        raise InvalidSettings(f"{key}.vectors: a number from {LEAST_VECTORS:,} to {MOST_VECTORS:,}, not {vectors}")
    return replace(Limits(), **value)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "listen": lambda key, value: parse_listen(_text(key, value)),
    "names": lambda key, value: tuple(text.lower() for text in _texts(key, value)),
    "tls_cert": lambda key, value: Path(_text(key, value)),
    "tls_key": lambda key, value: Path(_text(key, value)),
    "tls_client_ca": lambda key, value: Path(_text(key, value)),
    "socket": lambda key, value: Path(_text(key, value)),
    "state_dir": lambda key, value: Path(_text(key, value)),
    "instance": lambda key, value: parse_instance(_text(key, value)),
    "bpffs": lambda key, value: Path(_text(key, value)),
    "attach": lambda key, value: tuple(parse_attach(text) for text in _texts(key, value)),
    "detach_on_exit": _flag,
    "on_start_failure": _verdict,
    "limits": _limits,
    "log_level": _one_of(*LOG_LEVELS),
    "log_format": _one_of(*LOG_FORMATS),
    "management": _management,
    "protect_ssh": _flag,
}
