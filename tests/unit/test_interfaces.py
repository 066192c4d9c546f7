# SPDX-License-Identifier: Apache-2.0
"""Desired and attached interfaces, on the fake kernel."""

from __future__ import annotations

import pytest

from xdpfw.hold import Hold
from xdpfw.interfaces import Interfaces
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.model.errors import Conflict, Guarded, KernelError, NotFound
from xdpfw.model.interface import Attachment, AttachMode, ForeignProgram

AUTO, NATIVE, GENERIC = AttachMode.AUTO, AttachMode.NATIVE, AttachMode.GENERIC


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel([fake_link("eth1", 2), fake_link("eth2", 3)])


def test_an_interface_that_comes_back_is_attached_again_by_name(kernel):
    interfaces = Interfaces(kernel, {"eth1": NATIVE})
    assert interfaces.reconcile() == {"eth1"}
    kernel.set_links([fake_link("eth2", 3)])
    assert interfaces.reconcile() == {"eth1"}
    assert interfaces.view("eth1").state == "absent"
    kernel.set_links([fake_link("eth2", 3), fake_link("eth1", 9)])
    assert interfaces.reconcile() == {"eth1"}
    view = interfaces.view("eth1")
    assert (view.state, view.mode, view.index) == ("attached", "native", 9)
    assert interfaces.view("eth2").state == "detached"
    assert interfaces.reconcile() == set()


def test_a_failed_attach_is_shown_and_tried_again(kernel):
    interfaces = Interfaces(kernel, {"eth1": NATIVE, "eth2": NATIVE})
    kernel.fail_next(Attachment, KernelError("the driver has no XDP"))
    interfaces.reconcile()
    assert interfaces.view("eth1").state == "error"
    assert interfaces.view("eth1").warning == "the driver has no XDP"
    assert interfaces.view("eth2").state == "attached"
    interfaces.reconcile()
    assert interfaces.view("eth1").state == "attached"


def test_auto_tells_why_it_is_generic(kernel):
    kernel.native_refused["eth1"] = "the driver has no XDP"
    interfaces = Interfaces(kernel, {"eth1": AUTO})
    interfaces.reconcile()
    view = interfaces.view("eth1")
    assert view.mode == "generic" and "the driver has no XDP" in (view.warning or "")


def test_somebody_elses_program_is_named_and_left_alone(kernel):
    kernel.foreign["eth1"] = ForeignProgram(77, "cilium")
    interfaces = Interfaces(kernel, {})
    with pytest.raises(Conflict, match=r"77.*cilium"):
        interfaces.check_attach("eth1", AUTO, force=True)


def test_another_mode_needs_force_and_then_is_that_mode(kernel):
    interfaces = Interfaces(kernel, {})
    assert interfaces.check_attach("eth1", NATIVE, force=False)
    interfaces.attach("eth1", NATIVE)
    interfaces.desired["eth1"] = NATIVE
    assert not interfaces.check_attach("eth1", NATIVE, force=False)
    with pytest.raises(Guarded, match="generic"):
        interfaces.check_attach("eth1", GENERIC, force=False)
    assert interfaces.check_attach("eth1", GENERIC, force=True)
    interfaces.attach("eth1", GENERIC)
    assert interfaces.view("eth1").mode == "generic"


def test_no_such_interface(kernel):
    interfaces = Interfaces(kernel, {})
    with pytest.raises(NotFound):
        interfaces.check_attach("eth9", AUTO, force=False)
    with pytest.raises(NotFound):
        interfaces.view("eth9")


def test_after_a_detach_by_hand_nothing_attaches_until_asked(kernel, tmp_path):
    hold = Hold(tmp_path)
    hold.set()
    interfaces = Interfaces(kernel, {"eth1": AUTO}, hold)
    assert interfaces.reconcile() == set()
    assert interfaces.view("eth1").state == "detached"
    interfaces.attach("eth1", AUTO)
    assert interfaces.view("eth1").state == "attached"
    assert not hold.on
