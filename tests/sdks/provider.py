"""A provider of the outside: an AI model that is compatible with OpenAI's, one that is overloaded, and a plain page."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

Json = Any


class Asked(NamedTuple):
    """A request that came; the names of its headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: str


class Provider:
    """Listens on a port that the system chose, from entry to exit."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                headers = {name.lower(): value for name, value in self.headers.items()}
                provider.asked.append(Asked(self.path, headers, body))
                status, answer = provider.answer(self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if answer.startswith("{") else "text/plain")
                self.send_header("X-Answer", "to a post")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Say nothing of each request."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="provider")
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, body: str) -> tuple[int, str]:
        """Return the status and text of an answer."""
        if path.endswith("/v1/chat/completions"):
            if path.startswith("/busy"):
                return 429, json.dumps({"error": {"message": "too many requests"}})
            asked = json.loads(body)
            content = f"{asked['model']} says pong to {asked['messages'][-1]['content']}"
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
            return 200, json.dumps({"id": "c1", "object": "chat.completion", "choices": [choice]})
        return 404, f"no {body}"

    def asked_at(self, path: str) -> list[Asked]:
        """Return the requests that came to a path, in their order."""
        return [asked for asked in self.asked if asked.path == path]
