# SPDX-License-Identifier: Apache-2.0
"""The kernel's tables are compared with the policy, and written again: through the API, and by the daemon itself."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from tests.api.conftest import Api, ok, problem
from tests.packets import ethernet, ip, udp
from xdpfw.drift import Drift
from xdpfw.kernel.adapter import RealKernel
from xdpfw.model.deviation import Deviation
from xdpfw.model.prefix import Prefix
from xdpfw.policy.expected import Expected
from xdpfw.policy.keys import key_of

BLOCKED = "203.0.113.0/24"


def forget(api: Api, prefix: str) -> None:
    """Take a prefix out of the kernel, as somebody with bpftool might."""
    packed = key_of(Prefix.parse(prefix))
    if isinstance(api.kernel, RealKernel):
        from xdpfw.kernel import libbpf
        from xdpfw.kernel.keys import trie_keys

        libbpf.map_delete(api.kernel.tables.maps["trie4"].fd, trie_keys(4, np.array([packed])))
    else:
        del api.kernel.tables.prefixes[4][packed]


def drops(api: Api, source: str) -> bool:
    return bool(api.kernel.judge(ethernet(ip(source, udp()))).verdict == "drop")


def repaired(api: Api, **params: Any) -> Any:
    return ok(api.client.post("verification", params=params)).json()


def test_what_is_as_it_should_be_is_ok_and_repair_changes_nothing(api: Api) -> None:
    api.put(f"sets/block/entries/{BLOCKED}")
    found = api.get("verification")
    assert (found["ok"], found["deviations"], found["prefixes"]) == (True, [], 1)
    with api.nothing_changes():
        assert not repaired(api)["changed"]


def test_a_difference_is_named_and_repaired_and_written_down(api: Api) -> None:
    api.put(f"sets/block/entries/{BLOCKED}")
    api.put("sets/block/entries/198.51.100.0/24")
    revision = api.revision
    forget(api, BLOCKED)
    found = api.get("verification")
    assert not found["ok"]
    assert [(each["table"], each["places"], each["details"]) for each in found["deviations"]] == [
        ("trie4", 1, [f"{BLOCKED} is missing"])
    ]
    assert repaired(api, dry_run=True)["deviations"] == found["deviations"]
    assert not api.get("verification")["ok"], "a dry run changes nothing"
    assert repaired(api)["deviations"] == found["deviations"]
    assert api.get("verification")["ok"]
    assert drops(api, "203.0.113.9")
    status = api.get("status")
    assert status["revision"] == revision
    assert [(each["found"], each["mended"]) for each in status["drift"]] == [([f"trie4: {BLOCKED} is missing"], True)]
    [record] = [each for each in api.get("audit")["items"] if each["author"]["path"] == "/verification"]
    assert f"{BLOCKED} is missing" in record["detail"]


def test_drift_is_noticed_shown_and_mended_by_itself(api: Api) -> None:
    api.put(f"sets/block/entries/{BLOCKED}")
    api.run(api.firewall.look_for_drift())
    assert api.get("status")["drift"] == []
    api.firewall.drift = Drift(api.firewall.clock)  # for which a whole look is due
    forget(api, BLOCKED)
    api.run(api.firewall.look_for_drift())
    assert drops(api, "203.0.113.9")
    status = api.get("status")
    assert status["ready"]
    assert [(each["found"], each["mended"]) for each in status["drift"]] == [([f"trie4: {BLOCKED} is missing"], True)]
    assert any("written again" in warning for warning in status["warnings"])
    ready = ok(api.client.get("http://xdpfw/readyz")).json()
    assert ready["drift"] == status["drift"]


@pytest.mark.parametrize(("stays", "alone"), [(False, 0), (True, 1)])
def test_nobody_who_writes_waits_for_a_look_unless_something_stays(
    fake: Api, monkeypatch: pytest.MonkeyPatch, stays: bool, alone: int
) -> None:
    """What others write meanwhile looks like a difference for a moment; it is another one the next time."""
    writer, told, looks = fake.firewall.writer, itertools.count(), []

    def verify(expected: Expected, *, mend: bool = False, quick: bool = False) -> list[Deviation]:
        looks.append(writer.lock.locked())
        writer.performed += 1
        return [] if looks[-1] else [Deviation("trie4", 1, (f"{BLOCKED if stays else next(told)} is missing",))]

    monkeypatch.setattr(fake.kernel, "verify", verify)
    fake.firewall.drift = Drift(fake.firewall.clock)
    fake.run(fake.firewall.look_for_drift())
    assert (len(looks), sum(looks)) == (2 + alone, alone)
    assert fake.get("status")["drift"] == []


@pytest.mark.parametrize("others_write", [True, False])
def test_a_look_fails_for_what_others_write_only_when_they_do(
    fake: Api, monkeypatch: pytest.MonkeyPatch, others_write: bool
) -> None:
    """Else it is a defect, and must show."""
    writer, looks = fake.firewall.writer, []

    def verify(expected: Expected, *, mend: bool = False, quick: bool = False) -> list[Deviation]:
        looks.append(writer.lock.locked())
        if looks[-1]:
            return []
        writer.performed += others_write
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(fake.kernel, "verify", verify)
    fake.firewall.drift = Drift(fake.firewall.clock)
    if others_write:
        fake.run(fake.firewall.look_for_drift())
        assert looks == [False, False, True]
    else:
        with pytest.raises(RuntimeError, match="changed size"):
            fake.run(fake.firewall.look_for_drift())


def test_what_cannot_be_mended_is_a_reason_not_to_be_ready(fake: Api) -> None:
    fake.put(f"sets/block/entries/{BLOCKED}")
    fake.firewall.drift.noticed(["trie4: nobody can write there"])
    document = problem(fake.client.get("http://xdpfw/readyz"), 503)
    assert "nobody can write there" in document["detail"]
    fake.run(fake.firewall.look_for_drift())
    assert ok(fake.client.get("http://xdpfw/readyz")).json()["status"] == "ready"


def test_readers_may_look_and_only_admins_repair(fake: Api) -> None:
    for role, looks, mends in (("read", 200, 403), ("write", 200, 403), ("admin", 200, 200)):
        secret = ok(fake.client.post("tokens", json={"name": role, "role": role})).json()["secret"]
        with fake.tcp(secret) as client:
            assert client.get("verification").status_code == looks
            assert client.post("verification").status_code == mends


def test_what_a_long_change_has_put_in_so_far_is_not_taken_out(fake: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins after the look began, and nothing of it is known to the compiler yet."""
    mends: list[bool] = []

    def verify(expected: Expected, *, mend: bool = False, quick: bool = False) -> list[Deviation]:
        mends.append(mend)
        return [Deviation("trie4", 1, (f"{BLOCKED} is there and should not be",))]

    async def look_while_one_begins() -> None:
        monkeypatch.setattr(fake.kernel, "verify", verify)
        async with fake.firewall.writer.no_long_change():
            await fake.firewall._mend([Deviation("trie4", 1, (f"{BLOCKED} is there and should not be",))])

    fake.run(look_while_one_begins())
    assert mends == []
    assert fake.get("status")["drift"] == []
    assert fake.get("status")["ready"]
