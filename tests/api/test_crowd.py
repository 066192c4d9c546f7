# SPDX-License-Identifier: Apache-2.0
"""Sixteen writers and sixteen readers at once: what is there in the end is what one after the other would have made.

XDPFW_SECONDS says how long, 60 for instance.
"""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from typing import Any

import httpx

from tests.api.conftest import Api, Host, behind, ok

SECONDS = float(os.environ.get("XDPFW_SECONDS", "2"))
WRITERS = READERS = 16
BLOCK = "sets/block/entries"
TEXT = {"Content-Type": "text/plain"}
LIST = ["198.51.100.0/24", "2001:db8:1::/48"]
"""Which all writers claim, each as an origin of its own."""

Call = tuple[str, str, dict[str, Any]]


def work(writer: int, r: random.Random) -> Call:
    """The next call of a writer. What it is about, no other writer touches."""
    own = f"10.{writer}.{r.randrange(4)}.{r.randrange(8)}"
    return r.choice(
        [
            ("PUT", f"{BLOCK}/{own}", {"json": {"comment": str(r.randrange(1000))}}),
            ("DELETE", f"{BLOCK}/{own}", {}),
            ("PATCH", BLOCK, {"json": {"add": [own, f"10.{writer}.0.0/16"]}}),
            ("PUT", f"sets/s{writer}", {"json": {"comment": str(r.randrange(1000))}}),
            ("PUT", BLOCK, {"params": {"origin": f"feed{writer}"}, "content": "\n".join(LIST[: r.randrange(3)]),
                            "headers": TEXT}),
            ("PUT", f"rules/r{writer}", {"json": {"action": "drop", "match": {"source": own}}}),
            ("DELETE", f"rules/r{writer}", {}),
        ]
    )  # fmt: skip


def send(client: httpx.Client, call: Call) -> httpx.Response:
    method, path, said = call
    return client.request(method, path, params={"force": True} | said.get("params", {}), **_rest(said))


def _rest(said: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name != "params"}


def count_up(client: httpx.Client) -> int:
    """One more in the comment of a set that all writers share; answers how often somebody else was faster."""
    late = 0
    while True:
        shown = ok(client.get("sets/allow"))
        comment = str(int(shown.json()["comment"] or 0) + 1)
        answer = client.put("sets/allow", json={"comment": comment}, headers={"If-Match": shown.headers["etag"]})
        if answer.status_code != 412:
            ok(answer)
            return late
        late += 1


def write(api: Api, writer: int, until: float) -> tuple[list[Call], int, int]:
    """What was done, how often it counted up, and how often it came too late."""
    r, done, counted, late = random.Random(writer), [], 0, 0
    with closing(api.unix()) as client:
        if writer < 4:
            late, counted = count_up(client), 1
        while time.monotonic() < until:
            done.append(work(writer, r))
            assert send(client, done[-1]).status_code in (200, 201, 204, 404)
            if r.random() < 0.2:
                late += count_up(client)
                counted += 1
    return done, counted, late


def read(api: Api, reader: int, over: Event) -> int:
    """Every question is answered, and revisions never go back. Answers how often it asked."""
    revision, count = 0, 0
    with closing(api.unix()) as client:
        while not over.is_set():
            status = ok(client.get("status"))
            assert status.json()["revision"] >= revision
            revision, count = status.json()["revision"], count + 1
            for path in ("sets", "rules", f"{BLOCK}?limit=1000", f"addresses/10.{reader}.0.1", "audit?limit=10"):
                ok(client.get(path))
    return count


def everything(api: Api) -> Any:
    """The desired state. New rules come last, so that their order is that of the calls."""
    config = api.get("config", entries="*")
    config["rules"].sort(key=lambda rule: rule["id"])
    return config


def test_in_the_end_it_is_as_if_one_had_come_after_the_other(api: Api, fake_host: Host) -> None:
    over, until = Event(), time.monotonic() + SECONDS
    with ThreadPoolExecutor(WRITERS + READERS) as pool:
        readers = [pool.submit(read, api, number, over) for number in range(READERS)]
        writers = [pool.submit(write, api, number, until) for number in range(WRITERS)]
        try:
            written = [writer.result() for writer in writers]
        finally:
            over.set()
        assert all(reader.result() for reader in readers)
    counted = sum(count for _, count, _ in written)
    found, stored = everything(api), api.saved()
    assert found["sets"]["allow"]["comment"] == str(counted)
    calls = [call for done, _, _ in written for call in done]
    print(
        f"[{len(calls)} writes, {counted} counted up after {sum(late for *_, late in written)} answers of 412]", end=" "
    )
    assert stored.revision == api.revision
    with behind(fake_host) as serial:
        for call in calls:
            send(serial.client, call)
        ok(serial.client.put("sets/allow", json={"comment": str(counted)}))
        assert everything(serial) == found
