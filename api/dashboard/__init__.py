# SPDX-License-Identifier: Apache-2.0
"""The live page: static files, served without a token because they hold no secrets. What they show they ask of the
REST API, with the token of whoever looks."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from api.deps import check_fresh
from api.encoding import takes_gzip
from api.routing import routes

UI = Path(__file__).parent / "ui"
CHARTS = Path("/usr/share/javascript/dygraphs/dygraph.min.js")
"""The charting library, of Debian's package libjs-dygraphs. The page works without it, and says what is missing."""

_NO_CHARTS = b"// libjs-dygraphs is not installed\n"

_HEADERS = {
    "Cache-Control": "no-cache",
    # Nothing but files of this server, no script or style in the document, no other page around this one.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

router = routes("page", prefix="", include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is and compressed."""

    media_type: str
    body: bytes
    zipped: bytes
    etag: str


def is_page(path: str) -> bool:
    """Whether a path belongs to the page."""
    return path == "/" or path.startswith("/ui/")


@cache
def assets() -> dict[str, Asset]:
    return {name: _asset(name, body) for name, body in _files()}


def _files() -> Iterator[tuple[str, bytes]]:
    for path in UI.iterdir():
        yield path.name, path.read_bytes()
    yield "dygraph.js", CHARTS.read_bytes() if CHARTS.is_file() else _NO_CHARTS


def _asset(name: str, body: bytes) -> Asset:
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    return Asset(media_type, body, gzip.compress(body, mtime=0), etag)


@router.get("/")
async def get_page(request: Request) -> Response:
    return _answer(request, "index.html")


@router.get("/ui/{name}")
async def get_file(request: Request, name: str) -> Response:
    return _answer(request, name)


def _answer(request: Request, name: str) -> Response:
    asset = assets().get(name)
    if asset is None:
        raise HTTPException(404)
    check_fresh(request, asset.etag)
    headers = {**_HEADERS, "ETag": asset.etag}
    if takes_gzip(request):
        return Response(asset.zipped, headers={**headers, "Content-Encoding": "gzip"}, media_type=asset.media_type)
    return Response(asset.body, headers=headers, media_type=asset.media_type)
