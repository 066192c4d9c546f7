# SPDX-License-Identifier: Apache-2.0
"""serve: the daemon itself. The only verb that loads it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import USAGE, Failure
from cli.session import Session

if TYPE_CHECKING:
    from xdpfw.settings import Settings

_EXAMPLES = """\
examples:
  xdpfw serve
  xdpfw serve --attach eth0 --attach eth1:native
  xdpfw serve --listen none --state-dir /tmp/fw --socket /tmp/fw/socket     a second one beside it
"""


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="TOML (/etc/xdpfw/xdpfw.toml where it exists)")
    parser.add_argument("--listen", metavar="HOST:PORT", help="TCP (127.0.0.1:8484); none for none")
    parser.add_argument("--state-dir", metavar="DIR", help="what is kept (/var/lib/xdpfw)")
    parser.add_argument("--instance", metavar="NAME", help="name of the pins (follows from the state directory)")
    parser.add_argument("--bpffs", metavar="DIR", help="where bpffs is or shall be mounted (/sys/fs/bpf)")
    parser.add_argument("--attach", metavar="IFACE[:MODE]", action="append", help="as xdpfw attach; repeatable")
    parser.add_argument("--detach-on-exit", action="store_true", default=None, help="filter only while it runs")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"))
    parser.add_argument("--log-format", choices=("auto", "json", "text"), help="auto: json under journald, else text")
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_serve)


def _serve(session: Session) -> int:
    args = session.args
    said = {"socket": args.socket or os.environ.get("XDPFW_SOCKET") or None}
    names = ("listen", "state_dir", "instance", "bpffs", "attach", "detach_on_exit", "log_level", "log_format")
    settings = settings_of(args.config, said | {name: getattr(args, name) for name in names})

    from xdpfw.daemon import main

    return main(settings)


def settings_anyway(session: Session, said: dict[str, Any]) -> Settings:
    """For whom a broken configuration must not stand in the way: what was said on the command line, and defaults."""
    try:
        return settings_of(session.args.config, said)
    except Failure as failure:
        if session.args.config:
            raise
        session.warn(f"{failure.message}; going on without it")
        return settings_of(os.devnull, said)


def settings_of(config: str | None, said: dict[str, Any]) -> Settings:
    """The file's settings, and over them what was said on the command line."""
    from xdpfw.settings import InvalidSettings, from_document, load

    try:
        base = load(Path(config) if config else None)
        return from_document({name: value for name, value in said.items() if value is not None}, base)
    except InvalidSettings as error:
        raise Failure(USAGE, error.detail) from None
