# SPDX-License-Identifier: Apache-2.0
"""Who holds the same prefixes: nftables, ipset and the daemon, each by its own command, and the daemon over REST."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks.service import clear, put, run, settle
from lab.daemon import Daemon
from lab.namespace import Namespace

ELEMENTS = 1 << 21


class Holder(Protocol):
    """A set in a namespace. `host` is an address that none of the prefixes contains."""

    def write(self, prefixes: Sequence[str]) -> None:
        """Prepare the file that `load` reads."""

    def empty(self) -> None: ...
    def load(self) -> None: ...
    def add(self, host: str) -> None: ...
    def look(self, host: str) -> None: ...
    def delete(self, host: str) -> None: ...
    def list(self) -> None: ...


@contextmanager
def namespace(name: str) -> Iterator[Namespace]:
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=30)
    try:
        yield Namespace(name)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True, timeout=60)


class _Command:
    """What has a command of its own."""

    def __init__(self, space: Namespace, file: Path) -> None:
        self._space, self._file = space, file

    def _run(self, *command: str) -> None:
        run(*self._space.command(*command))


class Nftables(_Command):
    """Sets of intervals, one for each family."""

    def write(self, prefixes: Sequence[str]) -> None:
        lines = ["table inet bench {"]
        for name, kind, chosen in _families(prefixes):
            elements = f"elements = {{ {', '.join(chosen)} }}" if chosen else ""
            lines.append(f"set {name} {{ type {kind}_addr; flags interval; {elements} }}")
        self._file.write_text("\n".join([*lines, "}", ""]))

    def empty(self) -> None:
        self._run("nft", "flush", "ruleset")

    def load(self) -> None:
        self._run("nft", "-f", str(self._file))

    def add(self, host: str) -> None:
        self._element("add", host)

    def look(self, host: str) -> None:
        self._element("get", host)

    def delete(self, host: str) -> None:
        self._element("delete", host)

    def list(self) -> None:
        self._run("nft", "list", "table", "inet", "bench")

    def _element(self, verb: str, host: str) -> None:
        self._run("nft", verb, "element", "inet", "bench", "block4", f"{{ {host} }}")


class Ipset(_Command):
    """hash:net, one for each family."""

    def write(self, prefixes: Sequence[str]) -> None:
        lines: list[str] = []
        for name, kind, chosen in _families(prefixes):
            family = "inet" if kind == "ipv4" else "inet6"
            lines.append(f"create {name} hash:net family {family} maxelem {ELEMENTS}")
            lines += [f"add {name} {prefix}" for prefix in chosen]
        self._file.write_text("\n".join([*lines, ""]))

    def empty(self) -> None:
        self._run("ipset", "destroy")

    def load(self) -> None:
        self._run("ipset", "restore", "-file", str(self._file))

    def add(self, host: str) -> None:
        self._run("ipset", "add", "block4", host)

    def look(self, host: str) -> None:
        self._run("ipset", "test", "block4", host)

    def delete(self, host: str) -> None:
        self._run("ipset", "del", "block4", host)

    def list(self) -> None:
        self._run("ipset", "save")


class Command:
    """The daemon, by `xdpfw`."""

    def __init__(self, daemon: Daemon, file: Path) -> None:
        self._daemon, self._file = daemon, file

    def write(self, prefixes: Sequence[str]) -> None:
        self._file.write_text("\n".join([*prefixes, ""]))

    def empty(self) -> None:
        clear(self._daemon)
        settle(self._daemon, 0.2)

    def load(self) -> None:
        self._run("import", "block", str(self._file), "--replace", "--force")

    def add(self, host: str) -> None:
        self._run("block", host)

    def look(self, host: str) -> None:
        self._run("show", host)

    def delete(self, host: str) -> None:
        self._run("unblock", host)

    def list(self) -> None:
        self._run("export", "block")

    def _run(self, *arguments: str) -> None:
        run(*self._daemon.command(*arguments))


class Rest(Command):
    """The same over a connection that is kept."""

    def __init__(self, daemon: Daemon, file: Path) -> None:
        super().__init__(daemon, file)
        self._connection = daemon.rest.open()

    def empty(self) -> None:
        """Others take minutes meanwhile, which no connection outlives."""
        super().empty()
        self._connection.close()
        self._connection = self._daemon.rest.open()

    def load(self) -> None:
        put(self._daemon, self._file)

    def add(self, host: str) -> None:
        self._call("PUT", f"sets/block/entries/{host}", {})

    def look(self, host: str) -> None:
        self._call("GET", f"addresses/{host}")

    def delete(self, host: str) -> None:
        self._call("DELETE", f"sets/block/entries/{host}")

    def list(self) -> None:
        self._connection.request("GET", "/api/v1/sets/block/entries", headers={"Accept": "text/plain"})
        answer = self._connection.getresponse()
        while answer.read(1 << 20):
            pass

    def _call(self, method: str, path: str, body: object = None) -> None:
        self._daemon.rest.must(method, path, body, keep=self._connection)


def _families(prefixes: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """Name of the set, kind of address, its prefixes."""
    four = [prefix for prefix in prefixes if ":" not in prefix]
    six = [prefix for prefix in prefixes if ":" in prefix]
    return [("block4", "ipv4", four), ("block6", "ipv6", six)]
