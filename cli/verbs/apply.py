# SPDX-License-Identifier: Apache-2.0
"""apply and config: the desired state as one document."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cli.client import Answer
from cli.differences import show
from cli.errors import DIFFERENT, DONE, USAGE, Failure, Refused
from cli.options import confirm, dry_run, force
from cli.session import Session

_EXAMPLES = {
    "apply": """\
examples:
  xdpfw apply firewall.yaml --check       what would change; exit code 10 if anything would
  xdpfw apply firewall.yaml --confirm 60s
  xdpfw config | ssh other xdpfw apply -

What the document does not name stays as it is: sections, sets, interfaces, and the entries of a set that it gives none
for. `null` takes a set or an interface out. The list of rules is owned as a whole.
""",
    "config": """\
examples:
  xdpfw config > firewall.yaml            sets without their entries
  xdpfw config --entries allow,partners   with the entries of these
  xdpfw config --entries '*' --json       with all of them, as JSON
""",
}
_TYPES = {"yaml": "application/yaml", "json": "application/json"}
_TIMEOUT = 120.0
_SHOWN_FAULTS = 20


def configure(verb: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES[verb]
    if verb == "config":
        parser.add_argument("--entries", metavar="SET,…|*", default="", help="with the entries of these sets, of all")
        parser.set_defaults(run=_config)
        return
    parser.add_argument("file", metavar="FILE", help="YAML or JSON; - reads standard input")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 10 if it would")
    parser.add_argument("--format", choices=tuple(_TYPES), help="by the file's name, else yaml, which JSON is too")
    dry_run(parser)
    force(parser)
    confirm(parser)
    parser.set_defaults(run=_apply)


def _config(session: Session) -> int:
    query = {"entries": session.args.entries or None}
    if session.json:
        session.document(session.client.get("/config", query))
        return DONE
    for block in session.client.stream("/config", query, _TYPES["yaml"]):
        sys.stdout.buffer.write(block)
    return DONE


def _apply(session: Session) -> int:
    args = session.args
    args.dry_run = args.dry_run or args.check
    if args.timeout == 30.0:
        session.client.timeout = _TIMEOUT
    body = _read(args.file)
    form = args.format or ("json" if args.file.endswith(".json") else "yaml")
    answer = _put(session, body, _TYPES[form])
    view = answer.written()
    if session.json:
        session.document(view)
    else:
        show(session, view["differences"], view["more"])
        _tell(session, view["changed"], view["revision"])
    for warning in view["warnings"]:
        session.warn(warning)
    return DIFFERENT if args.dry_run and view["changed"] else DONE


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise Failure(USAGE, f"{name}: {error.strerror}; nothing was changed") from None


def _put(session: Session, body: bytes, kind: str) -> Answer:
    try:
        with session.forcible():
            answer = session.client.upload("/config", session.write_query(), kind, [body], len(body))
    except Refused as refused:
        if refused.faults:
            many = len(refused.faults)
            lines = [f"{pointer or '/'}: {detail}" for pointer, detail in refused.faults[:_SHOWN_FAULTS]]
            refused.message = f"{many} {'faults' if many > 1 else 'fault'} in {session.args.file}"
            more = [f"and {many - len(lines)} more"] if many > len(lines) else []
            refused.notes[:0] = [*lines, *more, "nothing was changed"]
        raise
    session.tell_waiting(answer)
    return answer


def _tell(session: Session, changed: bool, revision: int) -> None:
    if session.args.dry_run:
        session.say("" if changed else "nothing would change")
    else:
        session.say(f"revision {revision}" if changed else "everything is as it should be already")
