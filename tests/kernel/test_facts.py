# SPDX-License-Identifier: Apache-2.0
"""What is told about the program on an interface, against what bpftool says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import Host
from tests.kernel.plain import start
from tests.wire import make_pair, private_namespace
from xdpfw.kernel import libbpf
from xdpfw.model.errors import NotFound
from xdpfw.model.feature import Feature
from xdpfw.model.interface import AttachMode

pytestmark = pytest.mark.kernel


def bpftool(*words: str) -> Any:
    return json.loads(subprocess.run(["bpftool", "-j", *words], capture_output=True, check=True, text=True).stdout)


def test_facts_are_those_of_bpftool(host: Host) -> None:
    with private_namespace():
        make_pair("a0", "b0", 1500)
        kernel = host.kernel()
        start(kernel)
        with pytest.raises(NotFound):
            kernel.program_facts("a0")
        attached = kernel.attach("a0", AttachMode.NATIVE)
        facts = kernel.program_facts("a0", 0.2)
        told = bpftool("prog", "show", "id", str(attached.program_id))
        assert (facts.id, facts.tag, facts.name) == (told["id"], told["tag"], told["name"])
        assert (facts.instructions * 8, facts.machine_code) == (told["bytes_xlated"], told["bytes_jited"])
        assert abs(facts.loaded / 1e9 - told["loaded_at"]) < 3
        assert {each.id for each in facts.maps} == set(told["map_ids"])
        for each in facts.maps:
            shown = bpftool("map", "show", "id", str(each.id))
            assert (each.type, each.key_size, each.value_size, each.entries) == (
                shown["type"], shown["bytes_key"], shown["bytes_value"], shown["max_entries"],
            )  # fmt: skip
            assert each.memory == shown["bytes_memlock"]
            assert bpftool("map", "show", "pinned", each.pin)["id"] == each.id
        assert facts.seconds == 0.2
        kernel.stop(detach=True)


def test_a_program_is_told_of_also_while_it_is_swapped(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    with private_namespace():
        make_pair("a0", "b0", 1500)
        kernel = host.kernel()
        start(kernel)
        before = kernel.attach("a0", AttachMode.NATIVE).program_id
        pin, meanwhile = libbpf.pin, []

        def pin_and_ask(fd: int, path: Path) -> None:
            meanwhile.append(kernel.program_facts("a0").id)
            pin(fd, path)

        monkeypatch.setattr(libbpf, "pin", pin_and_ask)
        kernel.use(frozenset({Feature.EVENTS}))
        assert meanwhile == [before]
        assert kernel.program_facts("a0").id == kernel.attachments()[0].program_id != before
        kernel.stop(detach=True)
