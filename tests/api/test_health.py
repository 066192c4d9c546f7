# SPDX-License-Identifier: Apache-2.0
"""Alive, ready, status, metrics, and the OpenAPI document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.api.conftest import LIMITS, WAN, Api, ok, problem
from xdpfw import __version__
from xdpfw.model.errors import KernelError
from xdpfw.model.interface import Attachment


def root(api: Api, path: str) -> Any:
    return api.client.get(f"http://xdpfw/{path}")


def test_alive_and_ready(api: Api) -> None:
    assert ok(root(api, "healthz")).json() == {"status": "ok"}
    assert ok(root(api, "readyz")).json() == {"status": "ready", "drift": []}
    api.put(f"interfaces/{WAN}")
    assert ok(root(api, "readyz")).json() == {"status": "ready", "drift": []}


def test_not_ready_tells_why(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    links = list(fake.kernel.links.values())
    fake.kernel.set_links([link for link in links if link.name != WAN])
    fake.run(fake.firewall.reconcile())
    fake.kernel.fail_next(Attachment, KernelError("the driver refused"))
    fake.kernel.set_links(links)
    fake.run(fake.firewall.reconcile())
    response = root(fake, "readyz")
    assert "the driver refused" in problem(response, 503)["detail"]
    assert fake.get("status")["ready"] is False
    fake.run(fake.firewall.reconcile())
    ok(root(fake, "readyz"))


def test_where_answers_cannot_be_told_it_is_not_ready(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    fake.kernel.unmended = {WAN: "no room for a filter"}
    fake.run(fake.firewall.reconcile())
    ok(root(fake, "readyz"))
    fake.patch("policy", {"default": "drop"})
    fake.run(fake.firewall.reconcile())
    assert "no room for a filter" in problem(root(fake, "readyz"), 503)["detail"]
    assert "no room for a filter" in fake.get(f"interfaces/{WAN}")["warning"]
    assert fake.get(f"interfaces/{WAN}")["state"] == "attached"
    fake.kernel.unmended = {}
    fake.run(fake.firewall.reconcile())
    ok(root(fake, "readyz"))


def test_status(api: Api) -> None:
    api.put(f"interfaces/{WAN}")
    api.patch("sets/block/entries", {"add": ["192.0.2.1", "192.0.2.2", "198.51.100.0/24", "2001:db8::/32"]})
    status = api.get("status")
    assert (status["version"], status["revision"], status["ready"]) == (__version__, 2, True)
    assert status["uptime"] >= 0
    assert datetime.fromisoformat(status["started_at"]) <= datetime.now(UTC)
    assert {view["name"] for view in status["interfaces"]} >= {WAN}
    assert status["operation"] is None
    assert status["kernel"]["release"]
    maps = status["maps"]
    assert all(fill.keys() == {"used", "size"} for fill in maps.values())
    assert (maps["hosts4"], maps["trie6"]["used"]) == ({"used": 2, "size": LIMITS.hosts4}, 1)


SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? ([0-9.e+-]+)')


def samples(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """By the grammar of the text exposition format 0.0.4."""
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            yield match[1], dict(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', match[2] or "")), float(match[3])


def test_metrics(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    fake.patch("sets/block/entries", {"add": ["192.0.2.1", "2001:db8::/32"]})
    for number in range(50):
        fake.kernel.count(WAN, f"192.0.2.{number}", "drop", 2, 100, cause=33)
    response = ok(root(fake, "metrics"))
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    text = response.text
    assert text.endswith("\n")
    found = list(samples(text))
    names = {name for name, _, _ in found}
    for name in names:
        assert f"# TYPE {name} " in text
        assert text.index(f"# TYPE {name} ") < text.index(f"\n{name}")
    assert len({(name, tuple(sorted(labels.items()))) for name, labels, _ in found}) == len(found)
    values = {(name, tuple(labels.values())): value for name, labels, value in found}
    assert values["xdpfw_packets_total", (WAN, "rule:block", "drop")] == 100
    assert values["xdpfw_bytes_total", (WAN, "rule:block", "drop")] == 10_000
    assert values["xdpfw_set_entries", ("block", "6")] == 1
    assert values["xdpfw_interface_attached", (WAN, "native")] == 1
    assert not re.search(r"192\.0\.2|2001:db8", text), "a series per address"


def refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from refs(child)
    elif isinstance(node, list):
        for child in node:
            yield from refs(child)


@pytest.fixture
def document(fake: Api) -> Any:
    return fake.get("openapi.json")


QUESTIONS = ("explain", "replay")
"""They send something, and change nothing."""


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [(path, method, op) for path, methods in document["paths"].items() for method, op in methods.items()]


def test_the_openapi_document_holds_together(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    for ref in refs(document):
        node = document
        for part in ref.removeprefix("#/").split("/"):
            node = node[part]
    for path, method, operation in operations(document):
        named = set(re.findall(r"\{(\w+)\}", path))
        given = {param["name"] for param in operation.get("parameters", []) if param["in"] == "path"}
        assert named == given, f"{method} {path}"
        assert operation["summary"]
        assert operation["responses"]
        problems = [response for status, response in operation["responses"].items() if int(status) >= 400]
        assert all("application/problem+json" in response["content"] for response in problems)


def test_every_operation_has_a_stable_id(document: Any) -> None:
    """Generated clients name their methods by these: they do not change."""
    ids = {
        f"{method.upper()} {path.removeprefix('/api/v1')}": op["operationId"]
        for path, method, op in operations(document)
    }
    assert ids == {
        "GET /healthz": "healthz",
        "GET /readyz": "readyz",
        "GET /metrics": "get_metrics",
        "GET /events": "stream_events",
        "GET /interfaces/{name}/program": "get_program",
        "POST /explain": "explain",
        "POST /replay": "replay",
        "GET /rules": "list_rules",
        "PUT /rules": "replace_rules",
        "GET /rules/{id}": "get_rule",
        "PUT /rules/{id}": "put_rule",
        "PATCH /rules/{id}": "patch_rule",
        "DELETE /rules/{id}": "delete_rule",
        "GET /status": "get_status",
        "GET /interfaces": "list_interfaces",
        "GET /interfaces/{name}": "get_interface",
        "PUT /interfaces/{name}": "attach_interface",
        "DELETE /interfaces/{name}": "detach_interface",
        "GET /interfaces/{name}/counters": "get_counters",
        "GET /interfaces/{name}/talkers": "list_interface_talkers",
        "DELETE /interfaces/{name}/talkers": "reset_talkers",
        "GET /interfaces/{name}/counters/stream": "stream_interface_counters",
        "GET /interfaces/{name}/talkers/stream": "stream_interface_talkers",
        "GET /interfaces/{name}/history": "get_history",
        "GET /counters": "list_counters",
        "GET /counters/stream": "stream_counters",
        "GET /talkers": "list_talkers",
        "GET /talkers/stream": "stream_talkers",
        "GET /history": "list_history",
        "GET /status/stream": "stream_status",
        "GET /live/stream": "stream_live",
        "GET /sets": "list_sets",
        "GET /sets/{set}": "get_set",
        "PUT /sets/{set}": "put_set",
        "DELETE /sets/{set}": "delete_set",
        "GET /sets/{set}/entries": "list_entries",
        "PATCH /sets/{set}/entries": "patch_entries",
        "PUT /sets/{set}/entries": "replace_entries",
        "GET /sets/{set}/entries/{prefix}": "get_entry",
        "PUT /sets/{set}/entries/{prefix}": "put_entry",
        "DELETE /sets/{set}/entries/{prefix}": "delete_entry",
        "GET /addresses/{ip}": "get_address",
        "GET /policy": "get_policy",
        "PATCH /policy": "patch_policy",
        "GET /verification": "verify",
        "POST /verification": "repair",
        "GET /tokens": "list_tokens",
        "POST /tokens": "create_token",
        "DELETE /tokens/{id}": "revoke_token",
        "GET /audit": "list_audit",
        "GET /panic": "get_panic",
        "PUT /panic": "put_panic",
        "DELETE /panic": "end_panic",
        "GET /config": "get_config",
        "PUT /config": "put_config",
        "GET /revisions": "list_revisions",
        "POST /rollback": "roll_back",
        "GET /confirmations": "list_confirmations",
        "POST /confirmations/{id}": "confirm",
        "DELETE /confirmations/{id}": "take_back",
    }


def test_every_write_takes_dry_run_force_and_if_match(document: Any) -> None:
    for path, method, operation in operations(document):
        names = {param["name"] for param in operation.get("parameters", [])}
        if method != "get" and operation["operationId"] not in QUESTIONS:
            assert {"dry_run", "force", "If-Match"} <= names, f"{method} {path}"


def test_every_field_says_what_it_is(document: Any) -> None:
    """Numbers and times above all: units, and an example."""
    for model, schema in document["components"]["schemas"].items():
        for name, field in schema.get("properties", {}).items():
            kinds = {field.get("type"), *(choice.get("type") for choice in field.get("anyOf", []))}
            if (kinds & {"integer", "number"} or field.get("format") == "date-time") and model != "Problem":
                assert field.get("description"), f"{model}.{name}"
                assert field.get("examples") or "default" in field, f"{model}.{name}"
    assert "Bits per second" in document["components"]["schemas"]["Rated"]["properties"]["bps"]["description"]


def test_bodies_and_parameters_have_examples(document: Any) -> None:
    for path, method, operation in operations(document):
        for param in operation.get("parameters", []):
            if param["in"] == "path":
                assert param.get("examples") or param.get("example") or param["schema"].get("examples"), (
                    f"{method} {path}"
                )
