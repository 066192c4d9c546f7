# SPDX-License-Identifier: Apache-2.0
"""panic: drop everything but the present ssh peers and what is kept; and the way back."""

from __future__ import annotations

import argparse

from cli.errors import USAGE, Failure, Refused
from cli.options import writing
from cli.session import Session

_EXAMPLES = """\
examples:
  xdpfw panic                             ssh peers, whoever asks and the management prefixes still get through
  xdpfw panic --keep 192.0.2.0/24 2001:db8::/32
  xdpfw panic --off                       the policy is exactly what it was before
"""


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--keep", action="extend", nargs="+", default=[], metavar="PREFIX", help="let these through too"
    )
    parser.add_argument("--off", action="store_true", help="end it")
    writing(parser)
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_panic)


def _panic(session: Session) -> int:
    args = session.args
    if args.off and args.keep:
        raise Failure(USAGE, "--off ends it, and --keep belongs to its beginning")
    would = "would be" if args.dry_run else "is"
    if args.off:
        written = session.write("DELETE", "/panic").written()
        told = [f"the panic {would} over, and the policy what it was before"]
    else:
        try:
            written = session.write("PUT", "/panic", {"keep": args.keep}).written()
        except Refused as refused:
            if refused.guarded:
                refused.notes.insert(0, "--keep PREFIX names who may still reach this host")
            raise
        kept = ", ".join(written["keep"]) or "nobody"
        told = [f"everything {would} dropped; let through: {kept}", "xdpfw panic --off ends it"]
    if session.json:
        session.document(written)
    else:
        for line in told:
            session.say(line)
    return session.outcome(written)
