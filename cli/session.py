# SPDX-License-Identifier: Apache-2.0
"""What every verb is given: the arguments, a client, and the two streams."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cli.errors import DIFFERENT, DONE, Refused
from cli.render import Screen, duration

if TYPE_CHECKING:
    from cli.client import Answer, Client, Document, Query


class Session:
    """One call of `xdpfw`. Results go to stdout, messages to stderr."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.json: bool = args.json
        self.screen = Screen(sys.stdout, os.environ)
        self.messages = Screen(sys.stderr, os.environ)
        self._client: Client | None = None

    def new_client(self) -> Client:
        # http.client is a third of the start-up time; help and usage errors do without.
        from cli.client import Client, Target

        target = Target.chosen(self.args.socket, self.args.url, os.environ)
        return Client(target, self.args.timeout)

    @property
    def client(self) -> Client:
        if self._client is None:
            self._client = self.new_client()
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def say(self, text: str = "") -> None:
        """A line for people; with --json nothing but the document goes to stdout."""
        if not self.json:
            self.screen.line(text)

    def document(self, document: Any) -> None:
        """The one document of --json."""
        sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2 if self.screen.tty else None) + "\n")

    def warn(self, text: str) -> None:
        self.messages.line(f"xdpfw: {self.messages.paint('warning', 'yellow')}: {text}")

    def write(
        self, method: str, path: str, body: Any = None, *, query: Query | None = None, etag: str | None = None
    ) -> Answer:
        """A change, with the options that every writing verb has."""
        with self.forcible():
            answer = self.client.write(method, path, self.write_query() | (query or {}), body, etag)
        self.tell_waiting(answer)
        return answer

    def write_query(self) -> Query:
        window: int | None = getattr(self.args, "confirm_within", None)
        return {"dry_run": self.args.dry_run, "force": self.args.force, "confirm_within": window}

    def tell_waiting(self, answer: Answer) -> None:
        """What is to be done before time is up."""
        if answer.headers.get("X-Confirmation"):
            window = duration(self.args.confirm_within)
            self.warn(f"this holds for {window} unless you say `xdpfw confirm`; `xdpfw rollback` takes it back at once")

    @contextmanager
    def forcible(self) -> Iterator[None]:
        """Names the way past a guard."""
        try:
            yield
        except Refused as refused:
            if refused.guarded:
                refused.notes.append("--force goes ahead")
            raise

    def outcome(self, written: Document) -> int:
        """The exit code of a write: a dry run that would change something says so."""
        return DIFFERENT if self.args.dry_run and written.get("changed") else DONE
