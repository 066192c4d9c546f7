# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium before a real daemon with real traffic."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from lab import traffic
from lab.daemon import Daemon
from lab.forward import forward
from lab.network import ROOT, Network
from lab.probes import start_services
from tests.conftest import lacks

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
ARGUMENTS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
ARTEFACTS = ROOT / "artifacts" / "browser"
LISTEN = "127.0.0.1:8484"
SENDING = "10.77.1.2"
"""A client of the lab."""
NOTHING = "\N{EN DASH}"
"""What stands where there is no number."""
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}

expect.set_options(timeout=20_000)

# Reported as an error in the console, whatever the browser makes of it.
_WATCH = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


@dataclass
class Site:
    """A firewall with two clients that talk. `url`: where a browser of this machine finds the page."""

    network: Network
    daemon: Daemon
    url: str
    token: str


@dataclass
class View:
    """A page, and what went wrong in it."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def sign_in(self, token: str) -> None:
        self.page.fill("#token", token)
        self.page.press("#token", "Enter")
        self.page.wait_for_selector("#main:not([hidden])")

    def keep(self, name: str) -> None:
        """A screenshot, as an artefact of the tests."""
        self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)

    def row(self, address: str) -> Any:
        """The talker's row."""
        return self.page.locator("#talkers-table tbody tr").filter(
            has=self.page.locator(".address", has_text=re.compile(f"^{re.escape(address)}$"))
        )


@pytest.fixture(scope="package")
def site() -> Iterator[Site]:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    with Network(2) as network:
        start_services(network)
        attach = [word for client in network.clients for word in ("--attach", f"{client.interface}:native")]
        daemon = Daemon(network.firewall, network.home, arguments=("--listen", LISTEN, *attach)).start()
        for client in network.clients:
            words = (client.gateway4, client.gateway6, str(client.number))
            client.space.popen(sys.executable, "-m", traffic.__name__, *words)
        url = f"http://{forward(network.firewall, LISTEN)}/"
        yield Site(network, daemon, url, daemon.token("browser"))


@pytest.fixture(autouse=True)
def _nothing_stays_blocked(site: Site) -> Iterator[None]:
    """A test that fails half-way is the only one that does."""
    yield
    for prefix in blocked(site):
        site.daemon.rest.must("DELETE", f"sets/block/entries/{prefix}?force=true")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    # Not for the whole session: its event loop would stand in the way of other tests'.
    if not CHROMIUM.exists():
        lacks(f"no {CHROMIUM}; script/bootstrap --test installs it")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS) as browser,
    ):
        yield browser


@contextmanager
def looking(
    browser: Browser, site: Site, *, faulty: bool = False, scheme: str = "light", **options: Any
) -> Iterator[View]:
    """A fresh page. Errors in its console and violations of its policy fail the test, unless faults are what it is
    about (`faulty`)."""
    with browser.new_context(color_scheme=scheme, **{"viewport": DESK, **options}) as context:
        view = View(context.new_page())
        view.page.set_default_timeout(20_000)
        view.page.add_init_script(_WATCH)
        view.page.on("console", lambda message: _note(view, message))
        view.page.on("pageerror", lambda error: view.faults.append(str(error)))
        view.page.goto(site.url)
        yield view
        assert faulty or view.faults == []


def _note(view: View, message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):
        view.faults.append(f"{message.type}: {message.text}")


def blocked(site: Site) -> list[str]:
    return [entry["prefix"] for entry in site.daemon.rest.get("sets/block/entries")["items"]]
