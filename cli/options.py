# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share, so that they read the same everywhere."""

from __future__ import annotations

import argparse
from typing import Any

from cli.values import seconds


def common(parser: argparse.ArgumentParser, *, defaults: bool = False) -> None:
    """The options of every verb. They may stand before the verb (`defaults`) and after it, where what was said before
    holds unless it is said again."""
    group = parser.add_argument_group("everywhere")

    def option(name: str, default: object, **kinds: Any) -> None:
        group.add_argument(name, default=default if defaults else argparse.SUPPRESS, **kinds)

    option("--json", False, action="store_true", help="one JSON document on standard output")
    option("--socket", None, metavar="PATH", help="the daemon's socket (XDPFW_SOCKET; /run/xdpfw/xdpfw.sock)")
    option("--url", None, metavar="URL", help="the daemon over TCP (XDPFW_URL; its token in XDPFW_TOKEN)")
    option("--timeout", 30.0, type=_timeout, metavar="SECONDS", help="how long to wait for an answer (30)")


def dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="change nothing; exit code 10 if it would")


def force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="do it although a guard refuses")


def confirm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--confirm",
        dest="confirm_within",
        type=duration,
        metavar="TIME",
        help="take it back by itself unless `xdpfw confirm` comes within this time",
    )


def writing(parser: argparse.ArgumentParser) -> None:
    """What every change takes that can be taken back."""
    dry_run(parser)
    force(parser)
    confirm(parser)


def origin(parser: argparse.ArgumentParser, help_text: str) -> None:
    parser.add_argument("--origin", metavar="O", help=help_text)


def lifetime(parser: argparse.ArgumentParser) -> None:
    """--for, --comment, --origin: what may be said about an entry."""
    parser.add_argument(
        "--for", dest="ttl", type=duration, metavar="TIME", help="90s, 15m, 1h, 7d; without it, for ever"
    )
    parser.add_argument("--comment", metavar="TEXT", help="kept with the entries")
    origin(parser, "who claims it (manual): it stays until every origin's claim has gone")


def duration(text: str) -> int:
    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _timeout(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value
