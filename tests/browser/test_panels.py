# SPDX-License-Identifier: Apache-2.0
"""What the live page shows and changes, before a real firewall: talkers, sets, rules, events, interfaces."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from lab.waiting import eventually
from tests.browser.conftest import NOTHING, SENDING, Site, blocked, looking

pytestmark = pytest.mark.netns


def number(text: str) -> float:
    """Of "1.25 k"."""
    found = re.fullmatch(r"([\d.,]+) ?([kMG]?).*", text)
    assert found, text
    return float(found[1].replace(",", "")) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]]


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
        expect(page.locator("#entries-table .address")).to_have_text(["203.0.113.0/24"])
        page.fill("#entries-filter", "2001:db8::/16")
        expect(page.locator("#entries-fault")).to_contain_text("2001::/16")
        page.fill("#entries-filter", "2001::/16")
        expect(page.locator("#entries-table .address")).to_have_text(["2001:db8::/32"])
        page.fill("#entry-prefix", "203.0.113.0/33")
        page.click("#entry-add button")
        expect(page.locator("#entry-fault")).to_contain_text("not an address or prefix")
        page.fill("#entries-filter", "")
        expect(page.locator("#entries-table .address")).to_have_count(2)
        # a list that arrives says nothing of what was typed
        expect(page.locator("#entry-fault")).to_contain_text("not an address or prefix")
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


def test_sets_are_made_and_deleted(browser: Browser, site: Site) -> None:
    with looking(browser, site) as view:
        page, question = view.page, view.page.locator("#question")
        view.sign_in(site.token)
        page.click("#set-new")
        question.get_by_label("Name of the set").fill("scanners")
        question.get_by_role("button", name="Make it").click()
        expect(page.locator("#set-tabs [aria-selected=true]")).to_contain_text("scanners")
        page.fill("#entry-prefix", "192.0.2.1")
        page.click("#entry-add button")
        expect(page.locator("#entries-table .address")).to_have_text("192.0.2.1/32")
        page.click("#set-delete")
        question.get_by_role("button", name="Delete").click()
        expect(page.locator("#set-tabs [aria-selected=true]")).to_contain_text("block")
        assert [view["name"] for view in site.daemon.rest.get("sets")["items"]] == ["allow", "block"]


def test_an_interface_that_goes_is_warned_about_until_it_is_back(browser: Browser, site: Site) -> None:
    _, client = site.network.clients
    with looking(browser, site) as view:
        view.sign_in(site.token)
        row = view.page.locator("#links-table tr", has_text="lan2")
        expect(row).to_contain_text("attached")
        site.network.disconnect(client)
        try:
            expect(view.page.locator("#warnings")).to_contain_text("lan2 is not here now")
            expect(row).to_contain_text("absent")
            expect(view.page.locator("#interfaces button[value=lan2]")).to_have_class("warned")
        finally:
            site.network.connect(client)
        expect(row).to_contain_text("attached")
        expect(view.page.locator("#warnings p")).to_have_count(0)
        site.daemon.rest.must("PUT", "interfaces/lan2?force=true", {"mode": "generic"})
        expect(row.locator(".chip").last).to_have_text("generic")
        site.daemon.rest.must("PUT", "interfaces/lan2?force=true", {"mode": "native"})
        expect(row.locator(".chip").last).to_have_text("native")


def test_packets_are_shown_as_they_come(browser: Browser, site: Site) -> None:
    with looking(browser, site) as view:
        view.sign_in(site.token)
        view.page.click("#events-watch")
        rows = view.page.locator("#events-table tbody tr").filter(has_text=f"{SENDING}:")
        passed = rows.filter(has_text="pass").first
        expect(passed).to_contain_text(re.compile(r"\d\d:\d\d:\d\dlan1passdefault.*10\.77\.1\.1:7007(udp|tcp)"))
        site.daemon.rest.must("PUT", f"sets/block/entries/{SENDING}", {"ttl": 60})
        try:
            expect(rows.filter(has_text="rule block").first).to_contain_text("drop")
        finally:
            site.daemon.rest.must("DELETE", f"sets/block/entries/{SENDING}")
        view.page.click("#events-watch")
        eventually(lambda: site.daemon.rest.get("status")["events"]["watchers"] == 0, "nobody watches any more")
