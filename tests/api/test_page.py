# SPDX-License-Identifier: Apache-2.0
"""The files of the live page, as they are served."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator

import httpx
import pytest

from api import dashboard
from tests.api.conftest import Api, ok, problem

FILES = sorted(path.name for path in dashboard.UI.iterdir())
TEXT = {name: (dashboard.UI / name).read_text() for name in FILES}


@pytest.fixture
def page(fake: Api) -> Iterator[httpx.Client]:
    """A caller on TCP, without a token."""
    with httpx.Client(base_url=f"http://127.0.0.1:{fake.host.port}/", timeout=30) as client:
        yield client


def test_it_needs_no_token_and_the_rest_does(page: httpx.Client) -> None:
    assert ok(page.get("/")).headers["content-type"].startswith("text/html")
    for name in [*FILES, "dygraph.js"]:
        assert ok(page.get(f"/ui/{name}")).content
    for path in ("/api/v1/status", "/openapi.json", "/metrics", "/ui", "/uid/main.js"):
        problem(page.get(path), 401)
    assert page.post("/").status_code == page.delete("/ui/main.js").status_code == 401


@pytest.mark.parametrize("name", ["", "main.jsx", "%2e%2e%2f__init__.py", "..%2f..%2fapp.py", "index.html/x"])
def test_nothing_but_its_files(page: httpx.Client, name: str) -> None:
    assert page.get(f"/ui/{name}").status_code == 404


def test_it_is_guarded_against_other_sites(page: httpx.Client) -> None:
    problem(page.get("/", headers={"Host": "evil.example"}), 403)
    problem(page.get("/ui/main.js", headers={"Origin": "http://evil.example"}), 403)


def test_what_it_may_do_is_told_to_the_browser(page: httpx.Client) -> None:
    for path in ("/", "/ui/main.js"):
        headers = ok(page.get(path)).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self'",
            "connect-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-cache"


def test_it_travels_compressed_and_once(page: httpx.Client) -> None:
    plain = ok(page.get("/ui/base.css", headers={"Accept-Encoding": "identity"}))
    assert "content-encoding" not in plain.headers
    with page.stream("GET", "/ui/base.css", headers={"Accept-Encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == plain.content == (dashboard.UI / "base.css").read_bytes()
    assert len(raw) < len(plain.content) / 2
    again = page.get("/ui/base.css", headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert page.head("/ui/base.css").content == b""


def test_every_file_is_used_and_every_use_has_its_file() -> None:
    used = {name for text in TEXT.values() for name in re.findall(r'(?:/ui/|from "\./)([\w.]+)', text)}
    assert used - {"dygraph.js"} == set(FILES) - {"index.html"}


def test_nothing_is_loaded_from_elsewhere() -> None:
    for name, text in TEXT.items():
        assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}, name


def test_no_text_is_read_as_a_document_or_as_a_program() -> None:
    """What came over the network stays text; and what the policy forbids is not there to begin with."""
    for name, text in TEXT.items():
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
        found += re.findall(r"localStorage|sessionStorage|indexedDB|document\.cookie", text)
        assert found == [], name
    assert re.findall(r"\s(style|on\w+)=", TEXT["index.html"]) == []
    assert re.findall(r"<(?:script|style)\b(?![^>]*\bsrc=)[^>]*>", TEXT["index.html"]) == []


def test_the_page_says_what_is_missing_without_the_library(monkeypatch: pytest.MonkeyPatch, page: httpx.Client) -> None:
    monkeypatch.setattr(dashboard, "CHARTS", dashboard.UI / "absent.js")
    dashboard.assets.cache_clear()
    try:
        assert "libjs-dygraphs" in ok(page.get("/ui/dygraph.js")).text
    finally:
        dashboard.assets.cache_clear()
