# SPDX-License-Identifier: Apache-2.0
"""The API keeps what its OpenAPI document says, whatever is sent to it: every check that schemathesis knows, on calls
that the document allows and on calls that it does not.

A few examples of each operation; XDPFW_EXAMPLES says how many.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from api.app import create_app
from api.auth import Tokens
from api.failures import Failures
from tests.api.conftest import WAN, Host, behind, ok
from xdpfw.kernel.fake import FakeKernel
from xdpfw.service import Firewall
from xdpfw.store.memory import MemoryStore

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import Case, GenerationMode
    from schemathesis.schemas import APIOperation

Operation = APIOperation[Any, Any, Any, Any]

EXAMPLES = int(os.environ.get("XDPFW_EXAMPLES", "3"))
SECONDS = 10
ENDLESS = ("/stream", "/events")
"""Whose answers have no end; see test_streams.py and test_events.py."""
REAL_THINGS = [
    ("PUT", "sets/office"),
    ("PUT", "sets/block/entries/203.0.113.0/24"),
    ("PUT", f"interfaces/{WAN}"),
]
"""So that some calls find what they are about."""
MEANT = ["2xx", "400", "401", "403", "404", "409", "412", "413", "422", "503"]
"""Answers to calls that the document allows: that a prefix has host bits, an ETag is stale or bytes are no capture is
beyond what a schema can say. That nothing is a defect of the server is another check."""


def _address(networks: bool) -> st.SearchStrategy[str]:
    usual = st.sampled_from(
        ["192.0.2.7", "203.0.113.0/24", "2001:db8::/32", "::ffff:192.0.2.1", "0.0.0.0/0", "10.0.0.1/8"]
    )
    any_ = st.ip_addresses().map(str)
    return (
        st.one_of(usual, any_, st.tuples(any_, st.integers(0, 128)).map("{0[0]}/{0[1]}".format)) if networks else any_
    )


schemathesis.openapi.format("ip-prefix", _address(networks=True))
schemathesis.openapi.format("ip-address", _address(networks=False))
schemathesis.openapi.format("ssh-connection", st.just("192.0.2.7 50022 198.51.100.1 22"))


def _operations() -> list[Operation]:
    app = create_app(Firewall(FakeKernel([]), MemoryStore()), Tokens(MemoryStore())).app
    config = {"checks": {"positive_data_acceptance": {"expected-statuses": MEANT}}}
    schema = schemathesis.openapi.from_dict(
        app.openapi(), config=schemathesis.config.SchemathesisConfig.from_dict(config)
    )
    found = [each.ok() for each in schema.get_all_operations()]
    return [each for each in found if not each.path.endswith(ENDLESS)]


OPERATIONS = _operations()


def _may_be_wrong(operation: Operation) -> bool:
    return bool(operation.query or operation.path_parameters or operation.headers or operation.body)


class FailuresForgiven(Failures):
    """Calls without a token are part of the checks, and there are many."""

    def count(self, source: str) -> None:
        pass


@pytest.fixture(scope="module")
def check(fake_host: Host) -> Iterator[Callable[[Case], None]]:
    """Sends a case as an administrator, and checks the answer. What the cases leave behind, later ones find."""
    with behind(fake_host) as api, requests.Session() as session:
        fake_host.app = replace(fake_host.app, failures=FailuresForgiven())
        secret = ok(api.client.post("tokens", json={"name": "fuzz", "role": "admin"})).json()["secret"]
        headers = {"Authorization": f"Bearer {secret}"}
        sending: dict[str, Any] = {"session": session, "timeout": SECONDS}
        for case in REAL_THINGS:
            ok(api.client.request(*case))

        def check(case: Case) -> None:
            answer = case.call(f"http://127.0.0.1:{fake_host.port}", headers=headers, **sending)
            case.validate_response(answer, headers=headers, transport_kwargs=sending)

        yield check


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_calls_that_the_document_allows(operation: Operation, check: Callable[[Case], None]) -> None:
    _examples(operation, GenerationMode.POSITIVE, check)


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if _may_be_wrong(each)], ids=lambda each: each.label)
def test_calls_that_it_does_not_allow(operation: Operation, check: Callable[[Case], None]) -> None:
    _examples(operation, GenerationMode.NEGATIVE, check)


def _examples(operation: Operation, mode: GenerationMode, check: Callable[[Case], None]) -> None:
    @seed(1)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def every(case: Case) -> None:
        check(case)

    every()
