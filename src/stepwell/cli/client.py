"""Talks to a server's API, and makes one clear line of whatever goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, TypeVar
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    import httpx2

DEFAULT_URL: Final = "http://127.0.0.1:8288"
_LOOPBACKS: Final = ("127.0.0.1", "localhost", "::1")

UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="STEPWELL_URL", metavar="URL", help=f"The server. [default: {DEFAULT_URL}]"),
]
ApiTokenOption = Annotated[
    str | None,
    typer.Option("--api-token", envvar="STEPWELL_API_TOKEN", metavar="TOKEN", help="Needed by a server in production."),
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print the API's answer as it is.")]

T = TypeVar("T")


def fail(message: str, *, status: int = 1) -> NoReturn:
    """End the command with one line on standard error."""
    print(f"stepwell: {message}", file=sys.stderr)
    raise typer.Exit(status)


class Api:
    """The API of one server. Each method ends the command when the server refuses, or isn't there."""

    def __init__(self, url: str, client: httpx2.Client) -> None:
        self._url, self._client = url, client

    def get(self, path: str, shape: type[T], query: Mapping[str, Any] | None = None) -> T:
        """Read; parameters that are None are left out."""
        return _decoded(self.raw("GET", path, query=query), shape)

    def post(self, path: str, shape: type[T], body: object = None) -> T:
        """Do something."""
        return _decoded(self.raw("POST", path, body=body), shape)

    def delete(self, path: str, shape: type[T]) -> T:
        """Remove something."""
        return _decoded(self.raw("DELETE", path), shape)

    def raw(self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: object = None) -> bytes:
        """Make a request and return the JSON of the answer."""
        import httpx2
        import msgspec

        from stepwell.cli.answers import Refusal

        params = {key: value for key, value in (query or {}).items() if value is not None}
        content = None if body is None else msgspec.json.encode(body)
        try:
            answer = self._client.request(method, path, params=params, content=content)
        except httpx2.ConnectError:
            fail(f"no server answers at {self._url}: start one with `stepwell dev`, or name it with --url")
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            fail(f"{self._url} can't be asked: {error or type(error).__name__}")
        if answer.is_success:
            return answer.content
        try:
            refusal = msgspec.json.decode(answer.content, type=Refusal).error
        except msgspec.DecodeError:
            fail(f"{self._url}{path} answered {answer.status_code}: is it a Stepwell server?")
        if refusal.code == "unauthorized":
            fail(f"{refusal.message}: use --api-token or STEPWELL_API_TOKEN")
        if refusal.code == "no_such_path" and path == "/api/skip":
            fail("time can be skipped on a dev server only")
        fail(refusal.message + (f" (at {refusal.path})" if refusal.path else ""))


@contextmanager
def connect(url: str | None, api_token: str | None) -> Generator[Api]:
    """Open a client for a server. Nothing is sent yet."""
    import httpx2

    base = (url or DEFAULT_URL).rstrip("/")
    headers = {"Content-Type": "application/json"}
    if api_token:
        headers["Authorization"] = f"Bearer {api_token}"
    try:
        parts = urlsplit(base)
        host = parts.hostname if parts.scheme in ("http", "https") and parts.port != 0 else None
    except ValueError:
        host = None
    if not host:
        fail(f"--url must be like {DEFAULT_URL}, not {base!r}", status=2)
    # A proxy of the environment is not the way to one's own machine. No time-out: a skip takes as long as it takes.
    with httpx2.Client(
        base_url=base,
        headers=headers,
        timeout=httpx2.Timeout(None, connect=10.0),
        trust_env=host not in _LOOPBACKS,
    ) as client:
        yield Api(base, client)


def _decoded(raw: bytes, shape: type[T]) -> T:
    import msgspec

    try:
        return msgspec.json.decode(raw, type=shape)
    except msgspec.DecodeError as error:
        fail(f"the server's answer can't be read; is it of another version? {error}")
