# SPDX-License-Identifier: Apache-2.0
"""Answers keep coming when a default of drop comes into force, when the daemon dies, and when things are taken away."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

import pytest

from lab.namespace import Namespace
from lab.network import Network
from lab.waiting import eventually
from tests import packets as p
from tests.conftest import lacks
from tests.netns.world import HTTP, IPERF, Denied, look_for_clients
from xdpfw.model.prefix import FAMILIES, Family

pytestmark = pytest.mark.netns

BUFFERED = 16 << 20
"""More than what two hosts keep in their buffers: what comes beyond that crossed the firewall."""


@pytest.fixture(scope="module")
def shared(tools: None) -> Iterator[Denied]:
    look_for_clients()
    with Network(2) as network, closing(Denied(network)) as made:
        yield made


@pytest.fixture
def denied(shared: Denied) -> Iterator[Denied]:
    """For tests that leave it running."""
    yield shared
    shared.deny()


@pytest.fixture
def undecided(tools: None) -> Iterator[Denied]:
    """A lab of its own, where the default is pass so far."""
    look_for_clients()
    with Network(2) as network, closing(Denied(network, deny=False)) as made:
        yield made


class Download:
    """A slow one of a file that is so large that no test sees its end."""

    def __init__(self, world: Denied, space: Namespace, family: Family) -> None:
        target = f"[{world.target(family)}]" if family == 6 else world.target(family)
        self._file = world.home / f"got-{space.name}-{family}"
        url = f"http://{target}:{HTTP}/large"
        self._curl = space.popen("curl", "-gsS", "--limit-rate", "8M", "-o", str(self._file), url)
        eventually(lambda: self._got() > 0, "the download began")

    def _got(self) -> int:
        return self._file.stat().st_size if self._file.exists() else 0

    def goes_on(self) -> None:
        """Wait until it has got so much more that this must have been sent since."""
        goal = self._got() + BUFFERED
        eventually(lambda: self._got() >= goal, "the download goes on", within=30)

    def end(self) -> None:
        self._curl.terminate()
        self._curl.wait(timeout=10)
        self._file.unlink()


@contextmanager
def downloads(world: Denied) -> Iterator[list[Download]]:
    spaces = (world.network.firewall, world.at("behind a NAT"))
    begun = [Download(world, space, family) for space in spaces for family in FAMILIES]
    yield begun
    for each in begun:
        each.end()


def test_what_is_under_way_outlives_policy_and_daemon(undecided: Denied) -> None:
    with downloads(undecided) as under_way:
        undecided.deny()
        for each in under_way:
            each.goes_on()
        undecided.daemon.kill()
        for each in under_way:
            each.goes_on()
        # Nobody is there, and what is asked now is answered all the same.
        for family in FAMILIES:
            assert undecided.curl(undecided.network.firewall, family) == "hello\n"
            assert undecided.ask_unconnected(undecided.inside.space, family)
        before = undecided.filters()
        undecided.daemon.start()
        assert undecided.filters() == before
        for each in under_way:
            each.goes_on()
    fill = undecided.daemon.rest.get("status")["maps"]["flows"]
    assert 0 < fill["used"] < fill["size"]
    undecided.daemon.stop()
    undecided.daemon.offline_detach()
    assert "clsact" not in undecided.network.firewall.run("tc", "qdisc", "show", "dev", "lan1")
    assert not undecided.daemon.pins.exists()


def test_guests_on_the_same_wire_are_answered(undecided: Denied) -> None:
    """Behind a macvlan, whose packets still carry the guest's socket when they leave, and behind a bridge."""
    firewall, guest = undecided.network.firewall, Namespace(f"{undecided.network.name}-guest")
    subprocess.run(["ip", "netns", "add", guest.name], check=True)
    undecided.deny()
    addresses = "10.77.1.50/24", "fd00:77:1::50/64"

    def expect_answers(link: str) -> None:
        guest.ip(*(f"address add {each} dev {link}" + " nodad" * (":" in each) for each in addresses))
        guest.ip(f"link set {link} up")
        for family in FAMILIES:
            eventually(partial(undecided.reaches, guest, family), f"{link} reaches the world")
            assert undecided.ask_unconnected(guest, family)
            assert undecided.curl(guest, family) == "hello\n"

    make(firewall, f"link add link lan1 name mac0 netns {guest.name} type macvlan mode bridge")
    expect_answers("mac0")
    guest.ip("link delete mac0")
    make(firewall, "link add br0 type bridge")
    firewall.ip(f"link add guest type veth peer name eth0 netns {guest.name}")
    firewall.ip("link set guest master br0 up", "link set lan1 master br0", "link set br0 up")
    expect_answers("eth0")


def make(space: Namespace, command: str) -> None:
    if subprocess.run(["ip", "-n", space.name, *command.split()], capture_output=True, check=False).returncode:
        lacks(f"this kernel cannot: ip {command}")


def test_a_filter_that_somebody_takes_away_comes_back(denied: Denied) -> None:
    denied.network.firewall.run("tc", "qdisc", "del", "dev", "lan1", "clsact")
    eventually(lambda: "xdpfw:" in denied.filters(), "the filter is there again")
    for family in FAMILIES:
        assert denied.ask_unconnected(denied.network.firewall, family)


def test_it_says_so_when_answers_cannot_be_told(denied: Denied) -> None:
    firewall = denied.network.firewall
    firewall.run("sh", "-ec", "tc qdisc del dev lan1 clsact; tc qdisc add dev lan1 ingress")
    eventually(lambda: denied.daemon.rest.call("GET", "/readyz").status == 503, "it is not ready")
    [problem] = denied.daemon.rest.get("status")["problems"]
    assert problem.startswith("lan1: an ingress qdisc")
    # The sockets of this host are known even so.
    assert denied.curl(firewall, 4) == "hello\n"
    firewall.run("tc", "qdisc", "del", "dev", "lan1", "ingress")
    eventually(denied.daemon.ready, "it is ready")
    assert denied.curl(denied.inside.space, 4) == "hello\n"


def test_an_interface_that_comes_back_is_learnt_from_again(denied: Denied) -> None:
    denied.network.disconnect(denied.world)
    denied.network.connect(denied.world)
    eventually(lambda: denied.daemon.rest.get("interfaces/lan1")["state"] == "attached", "lan1 is attached")
    for family in FAMILIES:
        assert denied.ask_unconnected(denied.at("behind"), family)


def test_default_pass_takes_it_all_away(denied: Denied) -> None:
    denied.daemon.rest.must("PATCH", "policy", {"default": "pass"})
    eventually(lambda: "clsact" not in denied.network.firewall.run("tc", "qdisc", "show", "dev", "lan1"), "it is gone")
    assert "flows" not in denied.daemon.rest.get("status")["maps"]


@pytest.mark.parametrize("family", FAMILIES)
def test_who_was_let_in_stays_in_and_nobody_else(denied: Denied, family: Family) -> None:
    """As with ssh to this host: a rule lets a connection begin, and it outlives the rule."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    gateway = denied.world.gateway4 if family == 4 else denied.world.gateway6
    space = denied.world.space
    with denied.network.firewall.socket(kind, socket.SOCK_STREAM) as listener:
        listener.bind((gateway, 0))
        listener.listen()
        port = listener.getsockname()[1]
        rule = {"match": {"protocol": "tcp", "destination_ports": [port]}, "action": "pass"}
        denied.daemon.rest.must("PUT", "rules/let-in", rule)
        with space.socket(kind, socket.SOCK_STREAM) as caller, space.socket(kind, socket.SOCK_STREAM) as late:
            caller.settimeout(5)
            caller.connect((gateway, port))
            accepted, _ = listener.accept()
            with accepted:
                accepted.settimeout(5)
                denied.daemon.rest.must("DELETE", "rules/let-in")
                for here, there in ((caller, accepted), (accepted, caller), (caller, accepted)):
                    here.sendall(b"hello")
                    assert there.recv(16) == b"hello"
                late.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    late.connect((gateway, port))


@pytest.mark.parametrize("place", ["host", "behind"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rule_for_the_first_packet_of_a_connection_is_enough(denied: Denied, place: str, family: Family) -> None:
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    space, address = denied.at(place), denied.address(place, family)
    with (
        space.socket(kind, socket.SOCK_STREAM) as server,
        denied.world.space.socket(kind, socket.SOCK_STREAM) as caller,
    ):
        server.bind((address, 0))
        server.listen()
        port = server.getsockname()[1]
        match = {"protocol": "tcp", "tcp_flags": "syn,ack/syn", "destination_ports": [port]}
        denied.daemon.rest.must("PUT", "rules/first", {"match": match, "action": "pass"})
        caller.settimeout(5)
        caller.connect((address, port))
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(5)
            for here, there in ((caller, accepted), (accepted, caller)):
                here.sendall(b"hello")
                assert there.recv(16) == b"hello"
        denied.daemon.rest.must("DELETE", "rules/first")


def test_a_blocked_server_is_not_heard_though_asked(denied: Denied) -> None:
    denied.daemon.rest.must("PUT", f"sets/block/entries/{denied.target(4)}?force=true", {})
    with pytest.raises(subprocess.CalledProcessError):
        denied.network.firewall.run("curl", "-sS", "-m", "1", f"http://{denied.target(4)}:{HTTP}/hello")
    assert denied.counted("rule:block") > 0
    assert denied.curl(denied.network.firewall, 6) == "hello\n"
    denied.daemon.rest.must("DELETE", f"sets/block/entries/{denied.target(4)}")


def test_monitor_mode_tells_answers_from_the_rest(denied: Denied) -> None:
    denied.daemon.rest.must("PATCH", "policy?force=true", {"mode": "monitor"})
    assert denied.curl(denied.network.firewall, 4) == "hello\n"
    assert denied.counted("established", "monitored") == 0
    assert denied.counted("established", "passed") > 0
    before = denied.counted("default", "monitored")
    stray = p.ipv4(denied.target(4), p.tcp(443, 40001, flags=0x10), destination=denied.world.gateway4)
    denied.send([p.ethernet(stray)] * 3)
    eventually(lambda: denied.counted("default", "monitored") >= before + 3, "they are counted as monitored")
    denied.daemon.rest.must("PATCH", "policy?force=true", {"mode": "enforce"})


@pytest.mark.parametrize("family", FAMILIES)
def test_filtered_on_both_sides(denied: Denied, family: Family) -> None:
    """What comes from behind is a source like any other, and must be let in; answers go out there, and back in here."""
    denied.daemon.rest.must("PUT", "interfaces/lan2?force=true", {"mode": "native"})
    inside = denied.at("behind a NAT")
    with pytest.raises(subprocess.CalledProcessError):
        denied.ask_unconnected(inside, family)
    denied.daemon.rest.must("PUT", f"sets/allow/entries/{denied.inside.network4}", {})
    denied.daemon.rest.must("PUT", f"sets/allow/entries/{denied.inside.network6}", {})
    assert denied.ask_unconnected(inside, family)
    assert denied.curl(inside, family) == "hello\n"
    denied.daemon.rest.must("DELETE", "interfaces/lan2")
    denied.daemon.rest.must("PUT", "sets/allow/entries?force=true", b"", kind="text/plain")


def test_explain_knows_who_may_answer(denied: Denied) -> None:
    with denied.network.firewall.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.sendto(b"anybody?", (denied.target(4), IPERF))
        packet = {
            "source": denied.target(4), "destination": denied.world.gateway4, "protocol": "udp",
            "source_port": IPERF, "destination_port": asking.getsockname()[1], "interface": "lan1",
        }  # fmt: skip
        told = denied.daemon.rest.must("POST", "explain", packet)
        assert (told["verdict"], told["reason"]) == ("pass", "established")
        told = denied.daemon.rest.must("POST", "explain", {**packet, "source_port": IPERF + 1})
        assert (told["verdict"], told["reason"]) == ("drop", "default")
