# SPDX-License-Identifier: Apache-2.0
"""token: who may come in over TCP."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from cli.client import Document, segment
from cli.errors import DONE
from cli.options import common, dry_run, duration, force
from cli.render import Column, Table
from cli.session import Session
from cli.times import local, parse, still

_EXAMPLES = """\
examples:
  xdpfw token create grafana              the secret is shown once
  xdpfw token create fail2ban --role write --source 192.0.2.10
  xdpfw token create visitor --for 8h
  XDPFW_TOKEN=$(xdpfw token create deploy --role write --json | jq -r .secret)
  xdpfw token revoke 5f0c9a1e
"""


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke")
    create = verbs.add_parser("create", prog="xdpfw token create")
    create.add_argument("name", metavar="NAME", help="whose it is, for the list")
    create.add_argument("--role", choices=("read", "write", "admin"), default="read", help="read")
    create.add_argument("--for", dest="ttl", type=duration, metavar="TIME", help="8h, 30d; without it, for ever")
    create.add_argument("--source", action="append", default=[], metavar="PREFIX", help="only from there; repeatable")
    revoke = verbs.add_parser("revoke", prog="xdpfw token revoke")
    revoke.add_argument("id", metavar="ID")
    listing = verbs.add_parser("list", prog="xdpfw token list")
    for sub, run in ((create, _create), (revoke, _revoke), (listing, _list)):
        if sub is not listing:
            dry_run(sub)
            force(sub)
        common(sub)
        sub.set_defaults(run=run)
    parser.epilog = _EXAMPLES


def _create(session: Session) -> int:
    args = session.args
    body = {"name": args.name, "role": args.role, "ttl": args.ttl, "sources": args.source}
    token = session.write("POST", "/tokens", {key: value for key, value in body.items() if value}).written()
    if session.json:
        session.document(token)
    elif token.get("secret"):
        session.say(token["secret"])
        session.messages.line(f"token {token['id']} for {args.name}, role {args.role}; it is not shown again")
    else:
        session.say(f"a token for {args.name} would be made")
    return session.outcome(token)


def _list(session: Session) -> int:
    items = session.client.items("/tokens")
    if session.json:
        session.document({"items": items, "next": None, "total": len(items)})
        return DONE
    columns = [Column("id"), Column("name", flexible=True), *map(Column, ("role", "made", "left", "from"))]
    rows = [_row(item) for item in items]
    Table(session.screen, columns).write(rows)
    return DONE


def _row(item: Document) -> list[str]:
    end = item["expires_at"]
    left = "run out" if end and parse(end) <= datetime.now(UTC) else still(end)
    sources = " ".join(item["sources"]) or "everywhere"
    return [item["id"], item["name"], item["role"], local(item["created_at"]), left, sources]


def _revoke(session: Session) -> int:
    args = session.args
    written = session.write("DELETE", f"/tokens/{segment(args.id)}").written()
    if session.json:
        session.document(written)
    else:
        session.say(f"token {args.id}: {'would be ' if args.dry_run else ''}revoked")
    return session.outcome(written)
