"""The dashboard's files over HTTP: built assets for ever, the page itself fresh each time, under a strict policy."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final

import anyio.to_thread
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Route

STATIC: Final = Path(__file__).parent / "static"
"""Where the build is; not in git."""

PAGES: Final = (
    "/",
    *("/runs", "/runs/{id:path}", "/functions", "/functions/{slug:path}", "/events", "/events/{id:path}"),
    *("/send", "/logs", "/login", "/setup", "/welcome"),
)
"""The dashboard's addresses (``ui/src/router.tsx``): each is answered with its one page."""

_NONCE_PLACE: Final = '<meta name="csp-nonce" content="" />'
_SHARED_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_NOT_BUILT: Final = """\
<!doctype html>
<html lang="en">
<title>Stepwell: the dashboard isn't built</title>
<h1>The dashboard isn't built</h1>
<p>This server runs from a checkout. In it, run <code>./dev ui</code>, then load this page again.</p>
<p>The server itself works: its API is at <a href="/api/openapi.json">/api</a>.</p>
</html>
"""


def routes(folder: Path = STATIC) -> list[BaseRoute]:
    """Return the routes of the dashboard. They hold no data, so anyone may have them."""

    async def page(_request: Request) -> Response:
        return await anyio.to_thread.run_sync(_page, folder)

    async def asset(request: Request) -> Response:
        return _file(folder, f"assets/{request.path_params['name']}", request, "public, max-age=31536000, immutable")

    async def plain(request: Request) -> Response:
        return _file(folder, request.url.path[1:], request, "no-cache")

    return [
        *(Route(path, page) for path in PAGES),
        Route("/assets/{name}", asset),
        Route("/icon.svg", plain),
        Route("/theme.js", plain),
    ]


def _page(folder: Path) -> Response:
    """Answer with the one page, whose styles that code adds carry a nonce of this answer alone."""
    try:
        text = (folder / "index.html").read_text()
    except FileNotFoundError:
        return HTMLResponse(_NOT_BUILT, 503, {"Content-Security-Policy": policy(None), "Cache-Control": "no-store"})
    assert _NONCE_PLACE in text, f"{folder}/index.html has no place for the nonce"
    nonce = secrets.token_urlsafe(16)
    text = text.replace(_NONCE_PLACE, _NONCE_PLACE.replace('content=""', f'content="{nonce}"'))
    # Kept by nobody: a page with an old nonce would be refused its styles, one of an older build its scripts.
    headers = {"Content-Security-Policy": policy(nonce), "Cache-Control": "no-store", **_SHARED_HEADERS}
    return HTMLResponse(text, headers=headers)


def policy(nonce: str | None) -> str:
    """Return the content security policy: nothing from elsewhere, nothing inline.

    The code editor makes its style sheet while it runs; the nonce lets that one in, and no other inline style.
    """
    styles = "'self'" if nonce is None else f"'self' 'nonce-{nonce}'"
    return (
        f"default-src 'self'; style-src {styles}; object-src 'none'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    )


def _file(folder: Path, path: str, request: Request, caching: str) -> Response:
    """Answer with a built file, in the smaller form beside it (``.gz``) where the client reads that."""
    file = folder / path
    # A name can't hold a slash, but it can be "..".
    if ".." in path or not file.is_file():
        raise HTTPException(404)
    headers = {"Cache-Control": caching, "Vary": "Accept-Encoding", **_SHARED_HEADERS}
    packed = file.with_name(f"{file.name}.gz")
    if "gzip" in request.headers.get("accept-encoding", "") and packed.is_file():
        headers["Content-Encoding"] = "gzip"
        file = packed
    return FileResponse(file, headers=headers, media_type=_TYPES.get(Path(path).suffix, "application/octet-stream"))
