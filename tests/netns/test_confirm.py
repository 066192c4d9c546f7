# SPDX-License-Identifier: Apache-2.0
"""Somebody locks a client out by a change, and it comes back by itself: with the daemon running, killed, and after a
reboot."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.probes import expect, reach
from lab.waiting import eventually
from tests.netns.conftest import Site

pytestmark = pytest.mark.netns


def over(deadline: float) -> None:
    eventually(lambda: time.monotonic() > deadline, "the time to confirm is over", 60)


def test_a_client_that_is_locked_out_comes_back_by_itself(site: Site) -> None:
    client = site.clients[0]
    expect(client, reached=True)
    began = time.monotonic()
    done = site.daemon.cli("policy", "default", "drop", "--force", "--confirm", "4s")
    assert "xdpfw confirm" in done.stderr
    if time.monotonic() - began < 2:
        assert not any(reach(client).values())
    expect(client, reached=True, within=30)
    assert time.monotonic() - began > 3
    assert site.daemon.rest.get("policy")["default"] == "pass"
    assert site.daemon.cli("confirm", check=False).returncode == 3
    [record, *_] = site.daemon.rest.get("audit")["items"]
    assert record["author"]["actor"] == "xdpfw" and "not confirmed within 4 s" in record["detail"]


def test_what_is_confirmed_stays(site: Site) -> None:
    client = site.clients[0]
    site.daemon.cli("block", client.network4, client.network6, "--confirm", "10s")
    site.daemon.cli("confirm")
    assert not any(reach(client).values())
    over(time.monotonic() + 11)
    assert not any(reach(client).values())
    site.daemon.cli("unblock", client.network4, client.network6)
    expect(client, reached=True)


def test_rolled_back_by_hand_and_to_a_revision(site: Site, tmp_path: Path) -> None:
    client = site.clients[1]
    before = site.daemon.cli("config", "--entries", "*").stdout
    revision = str(site.daemon.rest.get("status")["revision"])
    site.daemon.cli("block", client.network4, client.network6, "--confirm", "1h")
    expect(client, reached=False)
    site.daemon.cli("rollback")
    expect(client, reached=True)
    site.daemon.cli("rules", "add", "nobody", "drop", "--force", "--position", "1")
    expect(client, reached=False)
    site.daemon.cli("rollback", "--to", revision)
    expect(client, reached=True)
    assert site.daemon.cli("config", "--entries", "*").stdout == before
    file = tmp_path / "firewall.yaml"
    file.write_text(before)
    assert site.daemon.cli("apply", str(file), "--check").stdout == "nothing would change\n"


def test_panic_lets_through_what_is_kept_alone(site: Site) -> None:
    kept, other = site.clients[:2]
    site.daemon.cli("panic", "--keep", kept.network4, kept.network6)
    expect(other, reached=False)
    expect(kept, reached=True)
    assert "PANIC" in site.daemon.cli("status").stdout
    site.daemon.cli("panic", "--off")
    for client in site.clients:
        expect(client, reached=True)


@pytest.mark.parametrize("reboot", [False, True])
def test_killed_before_the_deadline_and_started_after_it(make_site: Callable[..., Site], reboot: bool) -> None:
    site = make_site(1)
    [client] = site.clients
    site.daemon.cli("policy", "default", "drop", "--force", "--confirm", "12s")
    made = time.monotonic()
    assert site.daemon.rest.get("confirmations")["total"] == 1
    site.daemon.kill()
    assert not any(reach(client).values())
    if reboot:
        # What a reboot leaves of the kernel's part: nothing is pinned, so nothing is attached.
        shutil.rmtree(site.daemon.pins)
        expect(client, reached=True)
    over(made + 13)
    site.daemon.start()
    expect(client, reached=True)
    rest = site.daemon.rest
    assert rest.get("policy")["default"] == "pass" and rest.get("confirmations")["total"] == 0
    assert any("was not confirmed in time" in warning for warning in rest.get("status")["warnings"])


def test_killed_before_the_deadline_and_started_before_it(make_site: Callable[..., Site]) -> None:
    site = make_site(1)
    [client] = site.clients
    site.daemon.cli("rules", "add", "nobody", "drop", "--position", "1", "--force", "--confirm", "40s")
    site.daemon.kill()
    site.daemon.start()
    [waiting] = site.daemon.rest.get("confirmations")["items"]
    assert 0 < waiting["left"] <= 40
    assert not any(reach(client).values())
    expect(client, reached=True, within=80)
    assert [rule["id"] for rule in site.daemon.rest.get("rules")["items"]] == ["allow", "block"]


def test_an_attach_that_nobody_confirms_is_undone_by_the_next_start(make_site: Callable[..., Site]) -> None:
    site = make_site(1)
    name = site.clients[0].interface
    rest = site.daemon.rest
    site.daemon.arguments = ("--listen", "none")  # whose settings do not name the interface
    site.daemon.stop()
    site.daemon.start()
    rest.must("DELETE", f"interfaces/{name}")
    rest.must("PUT", f"interfaces/{name}?confirm_within=10&force=true", {"mode": "native"})
    made = time.monotonic()
    assert rest.get(f"interfaces/{name}")["state"] == "attached"
    site.daemon.kill()
    over(made + 11)
    site.daemon.start()
    assert rest.get(f"interfaces/{name}")["state"] == "detached"
    assert rest.get("confirmations")["total"] == 0
