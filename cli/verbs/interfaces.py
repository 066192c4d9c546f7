# SPDX-License-Identifier: Apache-2.0
"""attach and detach."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cli.client import Document, segment
from cli.errors import NOT_FOUND, USAGE, Failure, Refused, code_of_status
from cli.options import writing
from cli.session import Session

if TYPE_CHECKING:
    from xdpfw.hold import Hold
    from xdpfw.settings import Settings

_EXAMPLES = {
    "attach": """\
examples:
  xdpfw attach eth0                       native if the driver can, else generic, and says so
  xdpfw attach eth0 --mode native         native or not at all
""",
    "detach": """\
examples:
  xdpfw detach eth0
  xdpfw detach --all
  xdpfw detach --all --offline            the way out when the daemon does not answer
""",
}


def configure(verb: str, parser: argparse.ArgumentParser) -> None:
    parser.epilog = _EXAMPLES[verb]
    if verb == "attach":
        parser.add_argument("interface", metavar="IFACE")
        parser.add_argument("--mode", choices=("auto", "native", "generic"), default="auto", help="auto")
        parser.set_defaults(run=_attach)
    else:
        parser.add_argument("interface", metavar="IFACE", nargs="?")
        parser.add_argument("--all", action="store_true", help="every interface")
        parser.add_argument(
            "--offline", action="store_true", help="without the daemon; it attaches nothing again by itself"
        )
        instance = parser.add_argument_group("with --offline")
        instance.add_argument("--state-dir", metavar="DIR", help="the instance's state directory")
        instance.add_argument("--instance", metavar="NAME", help="the instance's name")
        instance.add_argument("--bpffs", metavar="DIR", help="where bpffs is mounted (/sys/fs/bpf)")
        instance.add_argument("--config", metavar="FILE", help="the daemon's configuration")
        parser.set_defaults(run=_detach)
    writing(parser)


def _attach(session: Session) -> int:
    args = session.args
    path = f"/interfaces/{segment(args.interface)}"
    written = session.write("PUT", path, {"mode": args.mode}).written()
    if session.json:
        session.document(written)
    else:
        session.say(_attached(args.interface, args.dry_run, written))
    if written.get("warning"):
        session.warn(str(written["warning"]))
    return session.outcome(written)


def _attached(name: str, dry: bool, written: Document) -> str:
    if dry:
        return f"{name}: would be attached" if written.get("changed") else f"{name}: nothing would change"
    state, mode = written.get("state", "attached"), written.get("mode")
    again = "" if written.get("changed", True) else " (as it was)"
    if state == "absent":
        return f"{name}: there is no such interface now; it is attached when it comes{again}"
    return f"{name}: {state}{f' in {mode} mode' if mode else ''}{again}"


def _detach(session: Session) -> int:
    args = session.args
    if bool(args.interface) == args.all:
        raise Failure(USAGE, "name one interface, or --all")
    if args.offline:
        return _detach_offline(session)
    if args.state_dir or args.instance or args.bpffs or args.config:
        raise Failure(USAGE, "--state-dir, --instance, --bpffs and --config go with --offline")
    names = [args.interface] if args.interface else _wanted(session)
    if len(names) > 1 and args.confirm_within:
        raise Failure(USAGE, "these are several changes, and one alone can wait for confirmation; name one interface")
    released: list[str] = []
    written: Document = {"revision": None, "changed": False}
    failures: list[Failure] = []
    for name in names:
        try:
            written = session.write("DELETE", f"/interfaces/{segment(name)}").written()
            released.append(name)
        except Refused as refused:
            # One that cannot be detached must not keep the others attached.
            failures.append(refused)
    if failures and not released:
        raise failures[0]
    code = _released(session, released, written)
    if failures:
        raise failures[0]
    return code


def _wanted(session: Session) -> list[str]:
    items = session.client.items("/interfaces")
    return [item["name"] for item in items if item["desired"] or item["state"] == "attached"]


def _detach_offline(session: Session) -> int:
    from cli.verbs.daemon import settings_anyway
    from xdpfw.hold import Hold
    from xdpfw.kernel import offline
    from xdpfw.model.errors import XdpfwError

    args = session.args
    said = {name: getattr(args, name) for name in ("state_dir", "instance", "bpffs")}
    settings = settings_anyway(session, said)
    try:
        names = [
            name
            for name in offline.attached(settings.instance_name, settings.bpffs)
            if args.all or name == args.interface
        ]
        if not args.dry_run and (args.all or names):
            # The mark comes first: a daemon that is alive after all must not attach again in between.
            _leave_mark(session, Hold(settings.state_dir))
            names = offline.detach(settings.instance_name, args.interface, settings.bpffs)
    except XdpfwError as error:
        raise Failure(code_of_status(error.status), error.detail) from None
    if args.interface and not names:
        what = f"instance {settings.instance_name} has nothing attached to {args.interface}"
        raise Failure(NOT_FOUND, what, *_others(settings))
    if not names:
        for note in _others(settings):
            session.messages.line(f"xdpfw: {note}")
    return _released(session, names, {"changed": bool(names)})


def _leave_mark(session: Session, hold: Hold) -> None:
    try:
        hold.set()
    except OSError as error:
        session.warn(f"{hold.path}: {error.strerror}; a daemon that starts attaches again what it is set up for")


def _others(settings: Settings) -> list[str]:
    """Other instances on this host, in case it was one of those."""
    names = sorted(path.name.removeprefix("xdpfw-") for path in settings.bpffs.glob("xdpfw-*"))
    others = [name for name in names if name != settings.instance_name]
    return [f"other instances here: {', '.join(others)}; --instance NAME chooses one"] if others else []


def _released(session: Session, names: list[str], written: Document) -> int:
    for name in names:
        session.say(f"{name}: {'would be detached' if session.args.dry_run else 'detached'}")
    if not names:
        session.say("nothing is attached")
    if session.json:
        session.document({"detached": names, **written})
    return session.outcome(written)
