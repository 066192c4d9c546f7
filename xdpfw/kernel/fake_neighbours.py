# SPDX-License-Identifier: Apache-2.0
"""Whom a fake host depends on: as a test says."""

from __future__ import annotations

from xdpfw.model.interface import Neighbour, Route


class FakeNeighbours:
    """`peer_addresses` have ssh sessions, nobody knows by which way; `others` are anybody else."""

    def __init__(self) -> None:
        self.peer_addresses: list[str] = []
        self.others: list[Neighbour] = []
        self.routes: dict[str, Route] = {}

    def neighbours(self) -> list[Neighbour]:
        return [*(Neighbour(address, "ssh") for address in self.peer_addresses), *self.others]

    def route(self, address: str) -> Route:
        return self.routes.get(address, Route())
