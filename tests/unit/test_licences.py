# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from lab import licences
from lab.network import ROOT


def test_the_list_is_of_what_is_locked() -> None:
    """`script/licences >docs/licences.md` brings it up to date."""
    assert (ROOT / "docs" / "licences.md").read_text() == licences.table()


def test_the_lock_is_read_whole() -> None:
    assert {"fastapi", "numpy", "pyroute2", "uvicorn"} <= set(licences.names())
    assert "win-inet-pton" not in licences.names()


def test_no_licence_is_one_that_this_project_cannot_be_shipped_with() -> None:
    for name in licences.names():
        words = set(licences.licence(name).replace("(", "").replace(")", "").split())
        assert words <= {
            *("AND", "OR", "MIT", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "Apache-2.0", "PSF-2.0", "Zlib", "CC0-1.0"),
            *("MPL-2.0", "ISC", "GPL-2.0-or-later"),
        }, name
    assert " OR " in licences.licence("pyroute2")  # the one with the GPL offers a choice
