# SPDX-License-Identifier: Apache-2.0
"""policy: the default verdict, enforce or monitor."""

from __future__ import annotations

import argparse

from cli.client import Document
from cli.errors import DONE
from cli.options import common, writing
from cli.session import Session

_EXAMPLES = """\
examples:
  xdpfw policy
  xdpfw policy mode monitor               count what would be dropped, and pass it
  xdpfw policy default drop               drop what no set allows
"""


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", metavar="show|default|mode")
    show = verbs.add_parser("show", prog="xdpfw policy show")
    default = verbs.add_parser("default", prog="xdpfw policy default")
    default.add_argument(
        "value", choices=("pass", "drop"), metavar="pass|drop", help="what happens to packets that no row decides"
    )
    mode = verbs.add_parser("mode", prog="xdpfw policy mode")
    mode.add_argument(
        "value", choices=("enforce", "monitor"), metavar="enforce|monitor", help="monitor drops nothing and counts"
    )
    for sub in (default, mode):
        writing(sub)
        sub.set_defaults(run=_change)
    for sub in (show, default, mode):
        common(sub)
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_show)


def _show(session: Session) -> int:
    policy = session.client.get("/policy")
    if session.json:
        session.document(policy)
    else:
        _page(session, policy)
    return DONE


def _change(session: Session) -> int:
    args = session.args
    written = session.write("PATCH", "/policy", {args.action: args.value}).written()
    if session.json:
        session.document(written)
    elif args.dry_run:
        session.say(f"{args.action} would become {args.value}" if written.get("changed") else "nothing would change")
    else:
        session.say(f"{args.action} is {args.value}" + ("" if written.get("changed") else " (as it was)"))
    return session.outcome(written)


def _page(session: Session, policy: Document) -> None:
    monitor = policy["mode"] == "monitor"
    mode = session.screen.paint("monitor: nothing is dropped, only counted", "yellow") if monitor else "enforce"
    session.say(f"mode     {mode}")
    for at, row in enumerate(policy["rows"], 1):
        session.say(f"row {at}    {row}")
    session.say(f"default  {policy['default']}")
    if policy["default"] == "drop":
        session.say(f"         passes beside IP and ARP: {', '.join(policy['ethertypes']) or 'nothing'}")
