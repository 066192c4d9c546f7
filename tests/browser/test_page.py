# SPDX-License-Identifier: Apache-2.0
"""The live page as a whole: how it looks, how fast it is there, what it keeps, and whom it lets near."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from lab.waiting import eventually
from tests.browser.conftest import ARTEFACTS, NOTHING, PHONE, SENDING, Site, blocked, looking

pytestmark = pytest.mark.netns

FIRST_VIEW_BYTES = 150_000
FIRST_VIEW_MS = 1000
_WHEN_READY = """
const look = () => {
  if (document.querySelector("#entrance")?.hidden === false) window.ready = performance.now();
  else requestAnimationFrame(look);
};
look();
"""


def known_seconds(page: Page) -> int:
    found = re.search(r"last (\d+) seconds", page.locator("#pps-chart").get_attribute("aria-label") or "")
    return int(found[1]) if found else 0


def test_a_reload_does_not_lose_the_charts(browser: Browser, site: Site) -> None:
    with looking(browser, site) as view:
        view.sign_in(site.token)
        eventually(lambda: known_seconds(view.page) >= 15, "some seconds are charted", 30)
        before = known_seconds(view.page)
        view.page.reload()
        view.sign_in(site.token)
        eventually(lambda: known_seconds(view.page) >= before - 1, "they are there again, sooner than they come", 8)
        box = view.page.locator("#pps-chart").bounding_box()
        assert box
        view.page.mouse.move(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
        expect(view.page.locator("#pps-legend")).to_contain_text(re.compile(r"\d\d:\d\d:\d\dpassed \d.*dropped 0 pps"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", ["desk", "phone"])
def test_it_fits_in_light_and_dark(browser: Browser, site: Site, scheme: str, width: str) -> None:
    options: dict[str, Any] = {} if width == "desk" else {"viewport": PHONE, "is_mobile": True, "has_touch": True}
    with looking(browser, site, scheme=scheme, **options) as view:
        view.sign_in(site.token)
        act = view.row(SENDING).get_by_role("button", name="Block")
        expect(act).to_be_visible()
        view.page.wait_for_selector("#pps-chart canvas")
        inner, whole = view.page.evaluate("[innerWidth, document.documentElement.scrollWidth]")
        assert whole <= inner
        box = act.bounding_box()
        assert box and box["x"] + box["width"] <= inner
        ground = view.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")
        view.keep(f"{width}-{scheme}")
        view.page.click("#theme")
        assert view.page.evaluate("getComputedStyle(document.body).backgroundColor") != ground


@pytest.mark.alone
def test_the_first_view_is_small_and_comes_from_here_alone(browser: Browser, site: Site) -> None:
    """How long it takes is written beside the screenshots."""
    with looking(browser, site) as view:
        session = view.page.context.new_cdp_session(view.page)
        session.send("Network.enable")
        session.send("Network.setCacheDisabled", {"cacheDisabled": True})
        sizes: dict[str, float] = {}
        urls: list[str] = []
        session.on("Network.requestWillBeSent", lambda event: urls.append(event["request"]["url"]))
        session.on("Network.dataReceived", lambda event: _add(sizes, event["requestId"], event["encodedDataLength"]))
        view.page.add_init_script(_WHEN_READY)
        view.page.reload()
        view.page.wait_for_selector("#sign-in:visible")
        ready = view.page.evaluate("ready")
        began = view.page.evaluate("performance.now()")
        view.sign_in(site.token)
        expect(view.row(SENDING)).to_be_visible()
        expect(view.page.locator("#pps-chart canvas").first).to_be_visible()
        shown = view.page.evaluate("performance.now()") - began
        figures = {
            "bytes": sum(sizes.values()),
            "sign-in ready, ms": ready,
            "from there to talkers and charts, ms": shown,
        }
        (ARTEFACTS / "first-view.json").write_text(json.dumps(figures, indent=2) + "\n")
        assert 20_000 < figures["bytes"] < FIRST_VIEW_BYTES
        assert figures["sign-in ready, ms"] < FIRST_VIEW_MS
        assert len(urls) > 15
        assert {url for url in urls if not url.startswith(site.url)} == set()


def _add(sizes: dict[str, float], request: str, size: float) -> None:
    sizes[request] = sizes.get(request, 0) + size


def test_without_the_charting_library_all_else_works(browser: Browser, site: Site) -> None:
    with looking(browser, site) as view:
        view.page.route("**/ui/dygraph.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
        view.page.reload()
        view.sign_in(site.token)
        expect(view.page.locator("#pps-chart")).to_contain_text("libjs-dygraphs")
        expect(view.row(SENDING)).to_be_visible()
        expect(view.page.locator("#passed-pps")).not_to_have_text(NOTHING)


def test_the_token_is_kept_nowhere(browser: Browser, site: Site) -> None:
    with looking(browser, site) as view:
        view.sign_in(site.token)
        expect(view.row(SENDING)).to_be_visible()
        assert view.page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
        assert view.page.evaluate("indexedDB.databases()") == []
        assert view.page.context.cookies() == []
        assert site.token not in view.page.url
        assert site.token not in view.page.content()
        assert view.page.input_value("#token") == ""
        assert site.token not in site.daemon.log.read_text()
        view.page.click("#leave")
        expect(view.page.locator("#sign-in")).to_be_visible()
        assert (
            view.page.evaluate("performance.getEntriesByType('resource').map((each) => each.name).join()").count(
                site.token
            )
            == 0
        )


def test_a_wrong_token_is_told_and_a_revoked_one_signs_out(browser: Browser, site: Site) -> None:
    made = site.daemon.rest.must("POST", "tokens", {"name": "short", "role": "read"})
    with looking(browser, site, faulty=True) as view:
        view.page.fill("#token", "xdpfw_0_wrong")
        view.page.press("#token", "Enter")
        expect(view.page.locator("#sign-in-fault")).to_contain_text("not known")
        view.sign_in(made["secret"])
        view.row(SENDING).get_by_role("button", name="Block").click()
        expect(view.page.locator(".notice.bad")).to_contain_text("needs the role write")
        site.daemon.rest.must("DELETE", f"tokens/{made['id']}")
        expect(view.page.locator("#sign-in")).to_be_visible()
        expect(view.page.locator("#main")).to_be_hidden()


@contextmanager
def elsewhere(body: str) -> Iterator[str]:
    """Another site on this machine; answers its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def test_other_sites_can_neither_read_nor_write_nor_frame_it(browser: Browser, site: Site) -> None:
    around = f"<!doctype html><link rel=icon href=data:><iframe src='{site.url}'></iframe>"
    with looking(browser, site, faulty=True) as view, elsewhere(around) as address:
        view.faults.clear()
        view.page.goto(address)
        call = "([url, method, headers]) => fetch(url, { method, headers }).then(() => 'answered', () => 'refused')"
        token = {"Authorization": f"Bearer {site.token}"}
        for method in ("GET", "PUT"):
            url = f"{site.url}api/v1/sets/block/entries/192.0.2.1"
            assert view.page.evaluate(call, [url, method, token]) == "refused"
        assert view.page.evaluate(call, [f"{site.url}api/v1/status", "GET", {}]) == "refused"
        assert blocked(site) == []
        assert any("frame-ancestors" in fault for fault in view.faults)
        assert "sign-in" not in view.page.frames[1].content()


def test_it_comes_back_when_the_daemon_does(browser: Browser, site: Site) -> None:
    with looking(browser, site, faulty=True) as view:
        view.sign_in(site.token)
        expect(view.page.locator("#live")).to_have_text("live")
        site.daemon.stop()
        expect(view.page.locator("#live")).to_have_text("no connection")
        site.daemon.start()
        expect(view.page.locator("#live")).to_have_text("live")
        seen = view.page.locator("#passed-pps").inner_text()
        expect(view.page.locator("#passed-pps")).not_to_have_text(seen)
        expect(view.row(SENDING)).to_be_visible()
