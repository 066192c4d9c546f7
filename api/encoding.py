# SPDX-License-Identifier: Apache-2.0
"""Which encodings of an answer a client takes (RFC 9110, 12.5.3)."""

from __future__ import annotations

from fastapi import Request


def takes_gzip(request: Request) -> bool:
    for item in request.headers.get("accept-encoding", "").lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        if coding in ("gzip", "*"):
            return not any(parameter.removeprefix("q=") in ("0", "0.0", "0.00", "0.000") for parameter in parameters)
    return False
