"""A suite for any server of the protocol: a real server, and a raw app that answers calls by script.

    count = world.function(ops(ran("a", 1)), done("ok"))   # the first call is answered so, the second so
    run = count.run({"n": 1})                              # sends its event, and waits until nothing is under way
    assert run["output"] == "ok"
    assert count.calls[1].body["steps"] == {sha1("a"): {"data": 1}}

Nothing of Stepwell's own code is used on either side of the wire, but its clock: ``world.skip("1h")``.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import parse_qs, urlsplit

import httpx2

from tests.e2e.harness import EVENT_KEY, SIGNING_KEY, Server

Json = Any
SDK: Final = "inngest-js:v4.24.0"
BEARER: Final = "Bearer signkey-test-" + hashlib.sha256(bytes.fromhex(SIGNING_KEY.rpartition("-")[2])).hexdigest()


class Call(NamedTuple):
    """One request that the app got."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """By lower-case names."""
    raw: bytes

    @property
    def body(self) -> Json:
        return json.loads(self.raw)

    @property
    def ctx(self) -> Json:
        return self.body["ctx"]

    @property
    def step(self) -> str:
        return self.query["stepId"]


class Answer(NamedTuple):
    """What the app answers: JSON, or bytes as they are."""

    status: int
    body: Json = None
    headers: Mapping[str, str] = {}
    version: str | None = "2"
    is_sdk: bool = True


Script: TypeAlias = Answer | Callable[[Call], Answer]


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def op(code: str, title: str, **fields: Json) -> Json:
    return {"id": sha1(title), "op": code, "name": title, "displayName": title, "opts": {}, "data": None} | fields


def ran(title: str, data: Json = None) -> Json:
    return op("StepRun", title, data=data)


def planned(title: str, **opts: Json) -> Json:
    return op("StepPlanned", title, opts=opts)


def sleep(title: str, duration: str) -> Json:
    return op("Sleep", title, name=duration)


def waits(title: str, event: str, timeout: Json = "1h", **opts: Json) -> Json:
    return op("WaitForEvent", title, name=event, opts={"timeout": timeout, **opts})


def invokes(title: str, slug: str, **opts: Json) -> Json:
    return op("InvokeFunction", title, opts={"function_id": slug, "payload": {}, **opts})


def error(message: str, name: str = "Error") -> Json:
    return {"name": name, "message": message, "stack": f"{name}: {message}\n    at x"}


def ops(*given: Json, version: str | None = "2", **headers: str) -> Answer:
    return Answer(206, list(given), {key.replace("_", "-"): value for key, value in headers.items()}, version)


def done(value: Json = None) -> Answer:
    return Answer(200, value)


def failed(message: str = "boom", status: int = 500, **headers: str) -> Answer:
    body = error(message) | {"__serialized": True}
    return Answer(status, body, {key.replace("_", "-"): value for key, value in headers.items()})


def by_memo(*stages: tuple[str, Answer], otherwise: Answer | None = None) -> Callable[[Call], Answer]:
    """Answer a discovery by the first step that isn't in the memo yet; then, ``otherwise``."""

    def answer(call: Call) -> Answer:
        steps = call.body["steps"]
        return next((reply for title, reply in stages if sha1(title) not in steps), otherwise or done())

    return answer


def targeted(answers: Mapping[str, Script], discover: Script) -> Callable[[Call], Answer]:
    """Answer calls for one step by its title, others by ``discover``."""
    by_hash = {sha1(title): script for title, script in answers.items()}

    def answer(call: Call) -> Answer:
        script = by_hash.get(call.step, discover)
        return script if isinstance(script, Answer) else script(call)

    return answer


class Function:
    """A function of the raw app, with what it was called with."""

    def __init__(self, world: World, app: str, slug: str, event: str, script: tuple[Script, ...]) -> None:
        self.world, self.app, self.slug, self.event, self.script = world, app, slug, event, script
        self.calls: list[Call] = []

    def answer(self, call: Call) -> Answer:
        number = len(self.calls)
        self.calls.append(call)
        script = self.script[min(number, len(self.script) - 1)]
        return script if isinstance(script, Answer) else script(call)

    def start(self, data: Json = None, **event: Json) -> Json:
        """Send the function's event; return its one run as it is when nothing is under way."""
        [run] = self.world.runs(self.send(data, **event))
        return run

    def send(self, data: Json = None, **event: Json) -> str:
        [id] = self.world.send({"name": self.event, "data": data if data is not None else {}, **event})
        return id

    @property
    def steps(self) -> list[str]:
        """The ``stepId`` of each call."""
        return [call.step for call in self.calls]

    @property
    def memo(self) -> Json:
        """The memo of the last call."""
        return self.calls[-1].body["steps"]

    @property
    def stack(self) -> Json:
        return self.calls[-1].ctx["stack"]


class World:
    """A server, the raw app, and a client."""

    def __init__(self, server: Server) -> None:
        self.server, self.http = server, server.http
        self.functions: dict[str, Function] = {}
        self.requests: list[Call] = []
        """All other requests that the app's port got: of steps that fetch, and PUTs."""
        self.fetched: Callable[[Call], Answer] = lambda _: Answer(200, {"ok": True})
        self._numbers = count()
        self.url = ""

    # -- the app ---------------------------------------------------------------------------------------------------

    def config(self, slug: str, event: str, **config: Json) -> Json:
        url = f"{self.url}/api/inngest?fnId={slug}&stepId=step"
        retries = config.pop("attempts", 3)
        step = {"id": "step", "name": "step", "runtime": {"type": "http", "url": url}, "retries": {"attempts": retries}}
        return {"id": slug, "name": slug, "triggers": [{"event": event}], "steps": {"step": step}} | config

    def registration(self, app: str, *functions: Json, **more: Json) -> Json:
        return {
            "url": f"{self.url}/api/inngest?app={app}",
            "deployType": "ping",
            "framework": "express",
            "appName": app,
            "sdk": "js:v4.24.0",
            "v": "0.1",
            "capabilities": {"trust_probe": "v1", "connect": "v1"},
            "functions": list(functions),
        } | more

    def register(self, body: Json, **headers: str) -> httpx2.Response:
        sent = {"Authorization": BEARER, "X-Inngest-SDK": SDK} | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.http.post("/fn/register", json=body, headers=sent)

    def app(self, **scripts: tuple[Any, ...]) -> list[Function]:
        """Register an app of its own; each function has its scripts, and after them a configuration, if any."""
        app = f"app{next(self._numbers)}"
        found: list[Function] = []
        configs: list[Json] = []
        for name, script in scripts.items():
            config: dict[str, Json] = script[-1] if isinstance(script[-1], dict) else {}
            answers = script[:-1] if isinstance(script[-1], dict) else script
            function = Function(self, app, f"{app}-{name}", f"{app}/{name}", answers)
            self.functions[function.slug] = function
            configs.append(self.config(function.slug, function.event, **config))
            found.append(function)
        body = self.registration(app, *configs)
        body["url"] = f"{self.url}/api/inngest/{app}"
        response = self.register(body)
        assert response.status_code == 200, response.text
        return found

    def function(self, *script: Script, **config: Json) -> Function:
        [function] = self.app(fn=(*script, config))
        return function

    # -- the server ------------------------------------------------------------------------------------------------

    def send(self, *events: Json) -> list[str]:
        """Send events, and wait until nothing is under way."""
        response = self.http.post(f"/e/{EVENT_KEY}", json=list(events))
        assert response.status_code == 200, response.text
        self.quiet()
        return response.json()["ids"]

    def skip(self, duration: str) -> Json:
        """Move the server's clock; what falls due on the way has happened when this returns."""
        response = self.http.post("/api/skip", json={"duration": duration}, timeout=60)
        assert response.status_code == 200, response.text
        return response.json()

    def now(self) -> float:
        """The server's time, Unix seconds."""
        return datetime.datetime.fromisoformat(self.skip("0s")["now"]).timestamp()

    def quiet(self) -> None:
        self.skip("0s")

    def get(self, path: str, status: int = 200, **query: Json) -> Json:
        response = self.http.get(path, params=query, headers={"Authorization": BEARER})
        assert response.status_code == status, response.text
        return response.json()

    def runs(self, event_id: str) -> list[Json]:
        return self.get(f"/v1/events/{event_id}/runs")["data"]

    def run(self, run: Json) -> Json:
        """Look at a run again."""
        return self.get(f"/v1/runs/{run['run_id']}")["data"]

    def events(self, name: str) -> list[Json]:
        """The newest events of a name first."""
        return self.get("/v1/events", name=name, limit=100)["data"]

    def about(self, name: str, run: Json) -> list[Json]:
        """The internal events of a name about a run, as ``watch`` has seen them."""
        return [event for event in self.ends if event["name"] == name and event["data"]["run_id"] == run["run_id"]]

    def watch(self) -> None:
        """Have a function started by each end: they are stored where something starts by them."""
        names = ("finished", "failed", "cancelled")
        config = {"triggers": [{"event": f"inngest/function.{name}"} for name in names]}
        [watcher] = self.app(watcher=(done(), config))
        self.watcher = watcher

    @property
    def ends(self) -> list[Json]:
        """All events about ends."""
        return [call.body["event"] for call in self.watcher.calls]

    def handle(self, call: Call) -> Answer:
        function = self.functions.get(call.query.get("fnId", ""))
        if function is not None and call.method == "POST":
            return function.answer(call)
        self.requests.append(call)
        return self.fetched(call)


@contextmanager
def serving(server: Server) -> Generator[World]:
    """Serve the raw app."""
    world = World(server)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = {key: value[0] for key, value in parse_qs(urlsplit(self.path).query).items()}
            headers = {key.lower(): value for key, value in self.headers.items()}
            answer = world.handle(Call(self.command, self.path, query, headers, raw))
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response_only(answer.status)
            sent = {"Content-Type": "application/json", "Content-Length": str(len(body))}
            if answer.is_sdk:
                sent["X-Inngest-SDK"] = SDK
            if answer.version is not None:
                sent["X-Inngest-Req-Version"] = answer.version
            for key, value in (sent | dict(answer.headers)).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the library names them

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library names it
            pass

    app = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    app.daemon_threads = True
    world.url = f"http://127.0.0.1:{app.server_address[1]}"
    thread = threading.Thread(target=app.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        if server.mode == "dev":
            world.watch()
        yield world
    finally:
        app.shutdown()
        thread.join()
        app.server_close()
