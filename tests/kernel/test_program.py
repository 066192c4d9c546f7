# SPDX-License-Identifier: Apache-2.0
"""The packet program compiles, the verifier accepts it within bounds, and failures say where."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from lab.waiting import eventually
from tests.kernel import plain
from tests.kernel.bench import Bench
from tests.kernel.conftest import Host
from tests.packets import ethernet, ip, udp
from tests.wire import make_pair
from xdpfw.kernel import compile as compiling
from xdpfw.kernel import libbpf
from xdpfw.kernel import program as programs
from xdpfw.kernel.cache import KEPT, ProgramCache
from xdpfw.kernel.compile import Program, compile_source
from xdpfw.kernel.program import PacketProgram
from xdpfw.kernel.source import find_sources, inline
from xdpfw.model.errors import KernelError
from xdpfw.model.feature import Feature, widest
from xdpfw.model.interface import AttachMode
from xdpfw.model.policy import DEFAULT_RULES
from xdpfw.model.requests import WriteOptions
from xdpfw.model.rule_form import parse_rules
from xdpfw.service import Firewall
from xdpfw.store.memory import MemoryStore
from xdpfw.store.port import StoredChange

pytestmark = pytest.mark.kernel

VERIFIER_BUDGET = 250_000
"""Older verifiers prune worse than this one, and refuse at a million."""


def test_the_verifier_has_little_work(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    work = libbpf.prog_info(bench.program).verified
    with capsys.disabled():
        print(f" [{work:,} instructions processed]", end="")
    assert 0 < work < VERIFIER_BUDGET


def test_a_refused_program_shows_the_verifiers_log() -> None:
    return_without_value = bytes.fromhex("95000000 00000000".replace(" ", ""))
    with pytest.raises(libbpf.Refused, match="R0 !read_ok") as caught:
        libbpf.prog_load("bad", return_without_value, frags=False)
    assert caught.value.errno == errno.EACCES


def test_a_compile_error_names_file_and_line(tmp_path: Path) -> None:
    for original in find_sources().iterdir():
        (tmp_path / original.name).write_bytes(original.read_bytes())
    header = tmp_path / "match.h"
    header.write_text(header.read_text() + "static int wrong(void) { return nonsense; }\n")
    line = len(header.read_text().splitlines())
    with pytest.raises(KernelError, match=rf"match\.h:{line}:\d+: error: use of undeclared identifier 'nonsense'"):
        compile_source(inline(tmp_path / "xdp_filter.c"), "xdp_filter", [], [])


def test_a_compiler_whose_daemon_is_killed_ends_and_leaves_nothing(tmp_path: Path) -> None:
    code = "from pathlib import Path; from xdpfw.kernel.program import PacketProgram as P; P.of(Path('.')).compiled"
    daemon = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"TMPDIR": str(tmp_path)})
    tree = eventually(lambda: list(tmp_path.glob("xdpfw-*")), "it is about to compile")
    children = Path(f"/proc/{daemon.pid}/task")
    [child] = eventually(
        lambda: [n for task in children.iterdir() for n in (task / "children").read_text().split()], ""
    )
    daemon.kill()
    daemon.wait()
    eventually(lambda: not _runs(child), "the compiler is gone")
    assert not any(path.exists() for path in tree)


def _runs(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


BROKEN = "	if (*(volatile char *)(long)ctx->data == 77)"


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize(
    ("file", "after"),
    [("xdp_filter.c", "	__u64 changes = 0;"), ("parse.h", "	struct cursor cursor = cursor_at(ctx")],
)
def test_what_the_verifier_refuses_is_told_with_its_line_and_log(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, after: str
) -> None:
    for original in find_sources().iterdir():
        (tmp_path / original.name).write_bytes(original.read_bytes())
    lines = (tmp_path / file).read_text().splitlines()
    at = next(number for number, line in enumerate(lines, 1) if line.startswith(after))
    lines[at:at] = [BROKEN, "		return 0;"]
    (tmp_path / file).write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(programs, "find_sources", lambda: tmp_path)
    kernel = host.kernel()
    plain.start(kernel)
    make_pair("xf0", "xf1", 1500)
    with pytest.raises(KernelError) as caught:
        kernel.attach("xf1", AttachMode.NATIVE)
    said = caught.value.detail.splitlines()
    assert said[0] == f"{file}:{at + 1}: {BROKEN.strip()}"
    assert any("invalid access to packet" in line for line in said)


def test_an_absent_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "xdp_filter.c").write_text('#include "lost.h"\n')
    with pytest.raises(KernelError, match=r"lost\.h"):
        inline(tmp_path / "xdp_filter.c")


def test_no_interpreter_with_bcc_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "INTERPRETERS", ("/nowhere/python3",))
    with pytest.raises(KernelError, match="apt-get install python3-bpfcc"):
        compiling.find_interpreter.__wrapped__()


def test_needs_no_kernel_headers_and_no_network(tmp_path: Path) -> None:
    """Compiled in a child without network, with nothing mounted where header packages would be."""
    script = (
        "from pathlib import Path\n"
        "from xdpfw.kernel.cache import ProgramCache\n"
        "from xdpfw.kernel.program import PacketProgram\n"
        f"print(len(PacketProgram(ProgramCache(Path({str(tmp_path)!r}))).compiled.instructions))\n"
    )
    release = os.uname().release
    hidden = (
        f"test -e /lib/modules/{release} && mount -t tmpfs none /lib/modules/{release}; mount -t tmpfs none /usr/src"
    )
    command = f"{{ {hidden}; }} 2>/dev/null; exec {compiling.sys.executable} -c {shlex.quote(script)}"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", command],
        capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0


def test_libbpf_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(libbpf.Refused):
        libbpf.get(Path("/sys/fs/bpf/not-there"))
    with pytest.raises(libbpf.Refused):
        libbpf.prog_load("bad", bytes(8), frags=False)
    assert capfd.readouterr().err == ""


@pytest.mark.alone
def test_cost_of_a_packet(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, not judged: machines differ."""
    cost = {
        family: bench.nanoseconds(ethernet(ip(source, udp())))
        for family, source in ((4, "192.0.2.1"), (6, "2001:db8::1"))
    }
    with capsys.disabled():
        print(f" [IPv4 {cost[4]} ns, IPv6 {cost[6]} ns]", end="")
    assert re.fullmatch(r"\d+", str(cost[4]))


# saved programs


@pytest.fixture
def program() -> Program:
    return Program("main", bytes(range(16)), {0: "control", 1: "leaf"}, "bcc 9")


def test_a_saved_program_is_the_same_program(tmp_path: Path, program: Program) -> None:
    cache = ProgramCache(tmp_path / "new")
    assert cache.load("main", 7) is None
    cache.save("main", 7, program)
    assert cache.load("main", 7) == program
    assert cache.load("main", 8) is None


def test_only_the_newest_are_kept(tmp_path: Path, program: Program) -> None:
    cache = ProgramCache(tmp_path)
    cache.save("other", 7, program)
    for mark in range(2 * KEPT):
        cache.save("main", mark, program)
    assert cache.load("main", 2 * KEPT - 1) == program
    assert cache.load("other", 7) == program
    assert len(list(tmp_path.iterdir())) == KEPT + 1


def test_the_next_start_begins_with_the_features_used_last(tmp_path: Path) -> None:
    assert PacketProgram.of(tmp_path).features == frozenset()
    wanted = frozenset({Feature.MATCH_VLAN, Feature.MANY_ROWS})
    PacketProgram.of(tmp_path).made_for(wanted).keep()
    assert PacketProgram.of(tmp_path).features == wanted
    next(tmp_path.rglob("features")).write_text('["MATCH_TASTE"]')
    assert PacketProgram.of(tmp_path).features == frozenset()


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: text.replace("AAEC", "AAED"), lambda _: "[]"])
def test_a_damaged_file_is_compiled_again(tmp_path: Path, program: Program, damage: Callable[[str], str]) -> None:
    cache = ProgramCache(tmp_path)
    cache.save("main", 7, program)
    (saved,) = tmp_path.iterdir()
    assert damage(saved.read_text()) != saved.read_text()
    saved.write_text(damage(saved.read_text()))
    assert cache.load("main", 7) is None


def test_what_is_asked_for_again_is_kept_longer(tmp_path: Path, program: Program) -> None:
    cache = ProgramCache(tmp_path)
    assert not cache.has("main", 0) and not list(tmp_path.iterdir())
    for mark in range(2 * KEPT):
        cache.save("main", mark, program)
        assert cache.has("main", 0)


def test_a_directory_that_cannot_be_written_is_no_failure(tmp_path: Path, program: Program) -> None:
    (tmp_path / "file").write_text("")
    ProgramCache(tmp_path / "file").save("main", 7, program)


def test_the_second_start_compiles_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    first = host.kernel()
    compiled, twin = first.program.compiled, first.program.twin

    def refuse(*_: object) -> Program:
        raise KernelError("compiled again")

    monkeypatch.setattr(programs, "compile_source", refuse)
    second = host.kernel()
    assert (second.program.compiled, second.program.twin) == (compiled, twin)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Host]:
    """What others compiled is not at hand there."""
    host = Host(tmp_path / "own", tmp_path)
    yield host
    host.close()


def test_while_the_right_program_is_compiled_the_next_wider_serves(
    alone: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[set[str]] = []

    def compile_source(source: str, function: str, maps: Sequence[str], flags: Sequence[str]) -> Program:
        compiled.append({flag for flag in flags if "MATCH" in flag})
        return Program(function, b"", {}, "")

    monkeypatch.setattr(programs, "compile_source", compile_source)
    one, other = (frozenset({feature}) for feature in (Feature.MATCH_VLAN, Feature.MATCH_LENGTH))
    kernel = alone.kernel()
    kernel.start()
    kernel.prepare(one)
    assert compiled.pop() == {"-DMATCH_VLAN=1"} and kernel.use(one) == one
    kernel.compile(widest(one))
    assert len(compiled.pop()) > len(other)
    kernel.prepare(other)
    assert kernel.use(other) == widest(other) and not compiled
    kernel.compile(one | other)
    assert compiled.pop() and kernel.use(other) == one | other
    kernel.compile(other)
    assert compiled == [{"-DMATCH_LENGTH=1"}] and kernel.use(other) == other


@pytest.mark.usefixtures("namespace")
def test_a_start_amid_a_change_of_rules_finds_its_program_compiled(
    alone: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the program could do more than the rules asked for, since these had just become fewer."""

    class Killed(BaseException):
        pass

    class Fatal(MemoryStore):
        def save(self, change: StoredChange) -> None:
            super().save(change)
            if change.policy and change.policy.rule("longer"):
                raise Killed

    async def life(*changes: dict[str, object]) -> None:
        kernel = alone.kernel()
        firewall = Firewall(kernel, store)
        try:
            await firewall.load()
            await firewall.attach("xf1", AttachMode.NATIVE, WriteOptions(force=True))
            for each in changes:
                rules = parse_rules([{"id": id, "match": match, "action": "drop"} for id, match in each.items()])
                await firewall.put_rules([*DEFAULT_RULES, *rules], WriteOptions(force=True))
        finally:
            kernel.stop(detach=False)

    make_pair("xf0", "xf1", 1500)
    store = Fatal()
    with pytest.raises(Killed):
        asyncio.run(life({"tagged": {"vlan": [7]}}, {}, {"longer": {"length": ["9000-9100"]}}))

    def refuse(*_: object) -> Program:
        raise KernelError("compiled again")

    monkeypatch.setattr(programs, "compile_source", refuse)
    asyncio.run(life())
