# SPDX-License-Identifier: Apache-2.0
"""backup, restore: copies of the daemon's database. They work on its file, with or without a daemon."""

from __future__ import annotations

import argparse
from pathlib import Path

from cli.errors import DONE, Failure, code_of_status
from cli.session import Session
from cli.verbs.daemon import settings_of

_EXAMPLES = {
    "backup": """\
examples:
  xdpfw backup /var/backups/xdpfw-$(date +%F).db     while the daemon runs, or not
""",
    "restore": """\
examples:
  systemctl stop xdpfw                               filters stay in force
  xdpfw restore /var/backups/xdpfw-2030-01-02.db
  systemctl start xdpfw                              and become what the copy says
""",
}


def configure(verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--config", metavar="FILE", help="of the daemon")
    parser.add_argument("--state-dir", metavar="DIR", help="where its database is (/var/lib/xdpfw)")
    parser.epilog = _EXAMPLES[verb]
    parser.set_defaults(run=_backup if verb == "backup" else _restore)


def _backup(session: Session) -> int:
    from xdpfw.model.errors import XdpfwError
    from xdpfw.settings import DATABASE
    from xdpfw.store.backup import backup

    try:
        revision = backup(_state_dir(session) / DATABASE, session.args.file)
    except XdpfwError as error:
        raise Failure(code_of_status(error.status), error.detail) from None
    if session.json:
        session.document({"file": str(session.args.file), "revision": revision})
    session.say(f"revision {revision} is in {session.args.file}; it holds hashes of access tokens: keep it to yourself")
    return DONE


def _restore(session: Session) -> int:
    from xdpfw.daemon import state_dir_lock
    from xdpfw.model.errors import XdpfwError
    from xdpfw.settings import DATABASE
    from xdpfw.store.backup import restore

    state_dir = _state_dir(session)
    try:
        with state_dir_lock(state_dir, any_owner=True):
            revision, old = restore(session.args.file, state_dir / DATABASE)
    except XdpfwError as error:
        raise Failure(code_of_status(error.status), error.detail, *_stop_first(error.status)) from None
    if session.json:
        session.document({"revision": revision, "kept": str(old) if old else None})
    session.say(
        f"revision {revision} is restored{f'; what was there is in {old}' if old else ''}; start the daemon now"
    )
    return DONE


def _state_dir(session: Session) -> Path:
    return settings_of(session.args.config, {"state_dir": session.args.state_dir}).state_dir


def _stop_first(status: int) -> list[str]:
    return ["stop it first: systemctl stop xdpfw (filters stay in force)"] if status == 409 else []
