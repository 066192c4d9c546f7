# SPDX-License-Identifier: Apache-2.0
"""prepare: what root does for a daemon that is not root."""

from __future__ import annotations

import argparse
import pwd

from cli.errors import DONE, NOT_FOUND, Failure, code_of_status
from cli.session import Session
from cli.verbs.daemon import settings_anyway

_EXAMPLES = """\
examples:
  xdpfw prepare xdpfw                     what the systemd unit does before it starts the daemon as the user xdpfw
  setpriv --reuid xdpfw --regid xdpfw --init-groups --inh-caps=+bpf,+net_admin,+perfmon \\
      --ambient-caps=+bpf,+net_admin,+perfmon xdpfw serve
"""


def configure(_verb: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="whom the daemon runs as")
    parser.add_argument("--config", metavar="FILE", help="of that daemon; likewise the options below")
    parser.add_argument("--state-dir", metavar="DIR", help="what is kept (/var/lib/xdpfw)")
    parser.add_argument("--instance", metavar="NAME", help="name of the pins (follows from the state directory)")
    parser.add_argument("--bpffs", metavar="DIR", help="where bpffs is or shall be mounted (/sys/fs/bpf)")
    parser.epilog = _EXAMPLES
    parser.set_defaults(run=_prepare)


def _prepare(session: Session) -> int:
    from xdpfw.kernel.bpffs import Pins
    from xdpfw.model.errors import XdpfwError

    args = session.args
    settings = settings_anyway(session, {name: getattr(args, name) for name in ("state_dir", "instance", "bpffs")})
    try:
        user = pwd.getpwnam(args.user)
    except KeyError:
        raise Failure(NOT_FOUND, f"there is no user {args.user!r}; useradd --system {args.user} makes one") from None
    try:
        Pins(settings.instance_name, settings.bpffs).hand_over(user.pw_uid, user.pw_gid)
    except XdpfwError as error:
        raise Failure(code_of_status(error.status), error.detail) from None
    if session.json:
        session.document({"user": args.user, "pins": str(settings.pin_dir)})
    session.say(f"{settings.pin_dir} is ready for a daemon that runs as {args.user}")
    return DONE
