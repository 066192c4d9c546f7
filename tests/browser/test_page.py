# SPDX-License-Identifier: Apache-2.0
"""The live page in a real browser, before a real firewall."""

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
from tests.browser.conftest import ARTEFACTS, PHONE, Site, looking

pytestmark = pytest.mark.netns
expect.set_options(timeout=20_000)

FIRST_VIEW_BYTES = 150_000
_WHEN_READY = """
const look = () => {
  if (document.querySelector("#entrance")?.hidden === false) window.ready = performance.now();
  else requestAnimationFrame(look);
};
look();
"""
SENDING = "10.77.1.2"
NOTHING = "\N{EN DASH}"


def number(text: str) -> float:
    """Of "1.25 k"."""
    found = re.fullmatch(r"([\d.,]+) ?([kMG]?).*", text)
    assert found, text
    return float(found[1].replace(",", "")) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]]


def blocked(site: Site) -> list[str]:
    return [entry["prefix"] for entry in site.daemon.rest.get("sets/block/entries")["items"]]


def test_a_talker_is_shown_blocked_by_a_click_dropped_and_let_go(browser: Browser, site: Site) -> None:
    with looking(browser, site) as view:
        view.sign_in(site.token)
        row = view.row(SENDING)
        expect(row).to_be_visible()
        expect(row.locator("td").nth(2)).not_to_have_text("0")
        view.keep("talking")
        row.get_by_role("button", name="Block").click()
        expect(view.page.locator(".notice")).to_contain_text(f"Blocked {SENDING}/32 for 1 hour")
        assert blocked(site) == [f"{SENDING}/32"]
        expect(row.locator(".chip")).to_have_text("block")
        expect(row.locator("td").nth(3)).to_have_class(re.compile("hot"))
        expect(view.page.locator("#dropped-pps")).not_to_have_text("0 pps")
        expect(view.page.locator("#entries-table .address")).to_have_text(f"{SENDING}/32")
        view.keep("blocked")
        view.page.locator(".notice").get_by_role("button", name="Undo").click()
        eventually(lambda: blocked(site) == [], "the block is lifted")
        expect(row.get_by_role("button", name="Block", exact=True)).to_be_visible()
        expect(row.locator("td").nth(3)).to_have_text(NOTHING)


def test_the_ttl_that_is_chosen_runs_and_unblock_can_be_undone(browser: Browser, site: Site) -> None:
    with looking(browser, site) as view:
        view.sign_in(site.token)
        view.page.select_option("#talkers-ttl", label="15 min")
        view.row(SENDING).get_by_role("button", name="Block").click()
        left = view.page.locator("#entries-table tbody td").nth(1)
        expect(left).to_have_text(re.compile(r"14 min \d+ s"))
        before = left.inner_text()
        expect(left).not_to_have_text(before)
        view.row(SENDING).get_by_role("button", name="Unblock").click()
        expect(view.page.locator("#entries-empty")).to_be_visible()
        view.page.locator(".notice", has_text="no longer").get_by_role("button", name="Undo").click()
        expect(left).to_have_text(re.compile(r"14 min \d+ s"))
        view.page.locator("#entries-table").get_by_role("button", name="Remove").click()
        eventually(lambda: blocked(site) == [], "the entry is removed")


def test_what_covers_an_address_is_shown(browser: Browser, site: Site) -> None:
    site.daemon.rest.must("PUT", "sets/block/entries/10.77.1.0/24", {"ttl": 600})
    with looking(browser, site) as view:
        view.sign_in(site.token)
        view.row(SENDING).get_by_role("button", name="Unblock").click()
        told = view.page.locator(".notice", has_text="covered by 10.77.1.0/24")
        told.get_by_role("button", name="Show").click()
        expect(view.page.locator("#entries-filter")).to_have_value("10.77.1.0/24")
        view.page.locator("#entries-table").get_by_role("button", name="Remove").click()
        eventually(lambda: blocked(site) == [], "the entry is removed")


def test_entries_are_added_found_and_removed(browser: Browser, site: Site) -> None:
    with looking(browser, site) as view:
        page = view.page
        view.sign_in(site.token)
        for prefix in ("203.0.113.0/24", "2001:db8::/32"):
            page.fill("#entry-prefix", prefix)
            page.fill("#entry-comment", "seen <b>before</b>")
            page.click("#entry-add button")
            expect(page.locator("#entries-table .address", has_text=prefix)).to_be_visible()
        expect(page.locator("#entries-table tbody tr").first).to_contain_text("manual · seen <b>before</b>")
        page.fill("#entries-filter", "203.0.113.7")
        expect(page.locator("#lookup")).to_contain_text("203.0.113.7: drop. rule block matches")
        page.fill("#entries-filter", "2001:db8::/16")
        expect(page.locator("#entries-fault")).to_contain_text("2001::/16")
        page.fill("#entries-filter", "2001::/16")
        expect(page.locator("#entries-table .address")).to_have_text(["2001:db8::/32"])
        page.fill("#entries-filter", "")
        page.fill("#entry-prefix", "203.0.113.0/33")
        page.click("#entry-add button")
        expect(page.locator("#entries-fault")).to_contain_text("not an address or prefix")
        while page.locator("#entries-table tbody tr").count():
            count = page.locator("#entries-table tbody tr").count()
            page.locator("#entries-table").get_by_role("button", name="Remove").first.click()
            expect(page.locator("#entries-table tbody tr")).to_have_count(count - 1)
        assert blocked(site) == []
        # what the daemon had to refuse, the browser calls an error: that one, and no other
        assert [fault for fault in view.faults if "422" not in fault] == []
        view.faults.clear()


def test_what_is_guarded_is_asked_about(browser: Browser, site: Site) -> None:
    with looking(browser, site, faulty=True) as view:
        view.sign_in(site.token)
        view.page.fill("#entry-prefix", "0.0.0.0/0")
        view.page.click("#entry-add button")
        expect(view.page.locator("#question")).to_be_visible()
        expect(view.page.locator("#question p")).to_contain_text("all IPv4 traffic would be dropped")
        view.page.locator("#question").get_by_role("button", name="Cancel").click()
        assert blocked(site) == []


def test_sorting_filtering_and_pausing(browser: Browser, site: Site) -> None:
    with looking(browser, site) as view:
        page = view.page
        view.sign_in(site.token)
        addresses = page.locator("#talkers-table .address")
        expect(view.row("10.77.2.2")).to_be_visible()
        page.get_by_role("button", name="Bytes", exact=True).click()
        expect(page.locator("th[aria-sort=descending]")).to_have_text("Bytes")
        rows = page.locator("#talkers-table tbody tr")

        def sizes() -> list[float]:
            return [number(text) for text in rows.locator("td:nth-child(6)").all_inner_texts()]

        eventually(lambda: len(sizes()) > 3 and sizes() == sorted(sizes(), reverse=True), "sorted by bytes")
        page.get_by_role("button", name="Bytes", exact=True).click()
        eventually(lambda: len(sizes()) > 3 and sizes() == sorted(sizes()), "the smallest first")
        page.fill("#talkers-filter", "10.77.2.0/24")
        expect(addresses).to_have_text(["10.77.2.2"])
        page.fill("#talkers-filter", "77:1:")
        expect(addresses).to_have_text(["fd00:77:1::2"])
        page.fill("#talkers-filter", "")
        page.select_option("#talkers-family", "6")
        eventually(lambda: all(":" in text for text in addresses.all_inner_texts()), "IPv6 alone")
        page.click("#interfaces button[value=lan2]")
        expect(view.row("fd00:77:1::2")).to_have_count(0)
        page.click("#talkers-pause")
        frozen = rows.all_inner_texts()
        began = page.evaluate("performance.now()")
        eventually(lambda: page.evaluate("performance.now()") > began + 2500, "two readings have gone by")
        assert rows.all_inner_texts() == frozen
        page.click("#talkers-pause")
        eventually(lambda: rows.all_inner_texts() != frozen, "it goes on")


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


def test_the_policy_and_the_system_are_shown(browser: Browser, site: Site) -> None:
    site.daemon.rest.must("PATCH", "policy", {"mode": "monitor"})
    try:
        with looking(browser, site) as view:
            view.sign_in(site.token)
            expect(view.page.locator("#mode")).to_have_text("monitor: nothing is dropped")
            site.daemon.rest.must("PATCH", "policy", {"mode": "enforce"})
            expect(view.page.locator("#mode")).to_have_text("enforcing")
            expect(view.page.locator("#rules-table strong")).to_have_text(["allow", "block"])
            expect(view.page.locator("#links-table tr", has_text="lan1")).to_contain_text(
                re.compile("attached.*native")
            )
            expect(view.page.locator("#maps .name")).to_have_count(len(site.daemon.rest.get("status")["maps"]))
            expect(view.page.locator("#reasons")).to_contain_text("default")
    finally:
        site.daemon.rest.must("PATCH", "policy", {"mode": "enforce"})


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
