# SPDX-License-Identifier: Apache-2.0
"""The command `xdpfw`: finds the verb, imports its module alone, turns failures into exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cli.errors import DONE, FAILED, INTERRUPTED, USAGE, Failure
from cli.options import common
from cli.session import Session

VERBS = {
    "serve": ("daemon", "run the firewall's daemon in the foreground"),
    "prepare": ("prepare", "make bpffs ready for a daemon that is not root"),
    "attach": ("interfaces", "filter on an interface, now and after every restart"),
    "detach": ("interfaces", "stop filtering on an interface, or on all"),
    "status": ("status", "what the firewall does now, and what is wrong with it"),
    "doctor": ("doctor", "check this machine: kernel, BCC, bpffs, drivers (needs no daemon)"),
    "block": ("entries", "drop packets from prefixes"),
    "unblock": ("entries", "take prefixes out of the set block"),
    "allow": ("entries", "pass packets from prefixes, whatever else says"),
    "unallow": ("entries", "take prefixes out of the set allow"),
    "unban": ("entries", "lift bans that rules with a limit made"),
    "list": ("sets", "the sets, or the entries of one"),
    "show": ("status", "is this address blocked, by what, until when"),
    "import": ("transfer", "put a file of prefixes into a set"),
    "export": ("transfer", "write the prefixes of a set"),
    "counters": ("status", "passed and dropped packets by reason"),
    "top": ("top", "who is talking: addresses by traffic, dropped traffic included"),
    "rules": ("rules", "the ordered rules: list, add, edit, move, remove"),
    "events": ("events", "packet by packet: who is talking, and what became of it"),
    "program": ("program", "what runs in the driver: instructions, machine code, maps, time of a run"),
    "policy": ("policy", "default verdict, enforce or monitor"),
    "config": ("apply", "the desired state as one document"),
    "apply": ("apply", "bring about the state that a document describes"),
    "confirm": ("confirm", "keep the change that waits for confirmation"),
    "rollback": ("confirm", "take that change back, or go back to an earlier revision"),
    "panic": ("panic", "drop everything but ssh peers and what is kept"),
    "audit": ("audit", "who changed what, and who was refused"),
    "explain": ("explain", "what becomes of a packet, and why"),
    "replay": ("explain", "what would become of the packets of a capture"),
    "set": ("sets", "create, describe and delete sets"),
    "backup": ("backup", "copy the daemon's database (needs no daemon)"),
    "restore": ("backup", "put such a copy back while no daemon runs"),
    "token": ("tokens", "access tokens for TCP"),
}

_EXAMPLES = """\
examples:
  xdpfw attach eth0                       filter on eth0
  xdpfw block 198.51.100.0/24 --for 1h    drop a network for an hour
  xdpfw show 198.51.100.7                 is it blocked, by what, until when
  xdpfw top eth0                          who is talking

exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict or refused by a guard,
5 daemon unreachable or busy (try again), 6 not allowed, 10 --dry-run or --check found a difference
"""


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Examples keep their line breaks; the width is the terminal's."""


class Parser(argparse.ArgumentParser):
    """Points to the help instead of printing the whole usage. No abbreviations: new options would break them."""

    def __init__(self, *, prog: str, description: str | None = None, add_help: bool = True) -> None:
        super().__init__(
            prog=prog, description=description, add_help=add_help, allow_abbrev=False, formatter_class=Formatter
        )

    def error(self, message: str) -> NoReturn:
        raise Failure(USAGE, message, f"{self.prog} --help tells how it is used")


def _top_parser() -> Parser:
    parser = Parser(prog="xdpfw", description="Drop packets from IP ranges in the network driver (XDP).")
    parser.usage = "xdpfw VERB … [--json] [--socket PATH | --url URL]"
    parser.add_argument("--version", action="store_true", help="print the version")
    common(parser, defaults=True)
    verbs = "\n".join(f"  {verb:<10}{summary}" for verb, (_, summary) in VERBS.items())
    parser.epilog = f"verbs (xdpfw VERB --help tells more):\n{verbs}\n\n{_EXAMPLES}"
    return parser


def _verb_at(argv: Sequence[str]) -> int:
    """Where the verb stands: the first word that is neither an option nor an option's value."""
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        at += 2 if argv[at] in ("--socket", "--url", "--timeout") else 1
    return at


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Raises Failure (usage) and, after printing help, SystemExit."""
    at = _verb_at(argv)
    top = _top_parser()
    args = top.parse_args(argv[:at])
    if args.version:
        from xdpfw import __version__

        sys.stdout.write(f"xdpfw {__version__}\n")
        raise SystemExit(DONE)
    if at >= len(argv):
        top.print_help(sys.stderr)
        raise SystemExit(USAGE)
    verb = argv[at]
    if verb not in VERBS:
        raise Failure(USAGE, f"there is no verb {verb!r}", *_similar(verb), "xdpfw --help lists them all")
    module, summary = VERBS[verb]
    parser = Parser(prog=f"xdpfw {verb}", description=summary[0].upper() + summary[1:] + ".")
    importlib.import_module(f"cli.verbs.{module}").configure(verb, parser)
    common(parser)
    return parser.parse_args(argv[at + 1 :], args)


def _similar(verb: str) -> list[str]:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=2)
    return [f"did you mean {' or '.join(near)}?"] if near else []


def _report(failure: Failure) -> int:
    from cli.render import Screen

    screen = Screen(sys.stderr, os.environ)
    screen.line(f"xdpfw: {screen.paint('error', 'red')}: {failure.message}")
    for note in failure.notes:
        screen.line(f"  {note}")
    return failure.code


def _run(argv: Sequence[str]) -> int:
    try:
        args = parse(argv)
    except SystemExit as done:
        sys.stdout.flush()
        return int(done.code or DONE)
    session = Session(args)
    try:
        code: int = args.run(session)
    finally:
        session.close()
    sys.stdout.flush()
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and answer its exit code."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except Failure as failure:
        return _report(failure)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (`| head`). What is left in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _report(Failure(FAILED, str(error)))


if __name__ == "__main__":
    sys.exit(main())
