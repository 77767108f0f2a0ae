"""The dashboard on a database with much history: what a real, headless Chromium sees, and how fast the API answers.

python -m bench.dashboard                      1,000,000 runs, 5,000,000 attempts, on SQLite
python -m bench.dashboard --db postgres
python -m bench.dashboard --minutes 10         with the memory of a page that stays open on a busy stream

paint      runs page: from the address to the first rows, with an empty cache
run        page of a run with 1,000 steps and 5,000 attempts: to its first rows, and to a page that answers within 50 ms
scroll     its waterfall is scrolled through: milliseconds a frame
heard      an event is sent: the time until the page of runs says that there is a new one
memory     of the runs page, after collecting garbage, each minute while 20 events a second come in
API        each list and filter, 30 requests each
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx2
from playwright.sync_api import Browser, Page, sync_playwright

from bench.__main__ import databases
from bench.history import Marked, fill
from bench.server import Server, stepwell
from tests.browser.conftest import CHROMIUM

_ROUNDS: Final = 5
_REQUESTS: Final = 30
_PROBES: Final = 20
_PROBE_GAP_MS: Final = 1_500  # a page reads again at most twice a second
_BUSY_EVENTS_S: Final = 20
_FRAMES: Final = 120
_ROW: Final = "[role=row] [role=gridcell]"

# Resolves once the page has answered at once, three times in a row.
_QUIET: Final = """() => new Promise((done) => {
  let calm = 0, last = performance.now();
  const look = () => {
    const now = performance.now();
    calm = now - last < 50 ? calm + 1 : 0;
    last = now;
    calm === 3 ? done() : setTimeout(look, 16);
  };
  setTimeout(look, 16);
})"""

_SCROLL: Final = """(count) => new Promise((done) => {
  const tree = document.querySelector('[role=tree]');
  let box = tree;
  while (box && box.scrollHeight <= box.clientHeight + 10) box = box.parentElement;
  const times = [];
  let last = performance.now();
  const step = (now) => {
    times.push(now - last);
    last = now;
    box.scrollTop += 120;
    times.length > count ? done(times.slice(1)) : requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


def timed(act: Callable[[], object]) -> float:
    """Return the milliseconds that something takes."""
    began = time.perf_counter()
    act()
    return (time.perf_counter() - began) * 1000


def opened(browser: Browser, server: Server, path: str, selector: str) -> tuple[float, float]:
    """Open a page in a new browser; return the milliseconds to its first rows, and until it answers at once."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    began = time.perf_counter()
    page.goto(path, wait_until="commit")
    page.wait_for_selector(selector)
    painted = time.perf_counter()
    page.evaluate(_QUIET)
    calm = time.perf_counter()
    context.close()
    return (painted - began) * 1000, (calm - began) * 1000


def send(http: httpx2.Client, name: str) -> None:
    http.post("/e/bench", json={"name": name, "data": {"user_id": 7}}).raise_for_status()


def heard(page: Page, http: httpx2.Client) -> list[float]:
    """Send events one by one; return the milliseconds until the page has counted each."""
    times: list[float] = []
    page.goto("/runs", wait_until="commit")
    page.wait_for_selector(_ROW)
    for number in range(1, _PROBES + 1):
        button = page.get_by_role("button", name=f"{number} new")
        began = time.perf_counter()
        send(http, "shop/f00.created")
        button.wait_for()
        times.append((time.perf_counter() - began) * 1000)
        page.wait_for_timeout(_PROBE_GAP_MS)
    return times


def memory(browser: Browser, server: Server, http: httpx2.Client, minutes: int) -> list[float]:
    """Leave the runs page open while events come in; return its heap in MB each minute."""
    context = browser.new_context(base_url=server.url, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto("/runs")
    page.wait_for_selector(_ROW)
    devtools = context.new_cdp_session(page)
    sizes: list[float] = []
    for _ in range(minutes):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            send(http, "shop/f01.created")
            page.wait_for_timeout(1000 / _BUSY_EVENTS_S)
        devtools.send("HeapProfiler.collectGarbage")
        sizes.append(devtools.send("Runtime.getHeapUsage")["usedSize"] / 1e6)
    context.close()
    return sizes


def answers(http: httpx2.Client) -> dict[str, list[float]]:
    """Return the milliseconds of each list and filter, by their query."""
    slug = http.get("/api/functions").json()["items"][0]["slug"]
    day = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 86_400))
    paths = (
        "/api/runs",
        *(f"/api/runs?status={status}" for status in ("completed", "failed", "cancelled", "skipped", "running")),
        "/api/runs?status=failed,cancelled",
        f"/api/runs?function={slug}",
        f"/api/runs?function={slug}&status=failed",
        "/api/runs?app=shop",
        "/api/runs?event_name=shop/f03.created",
        f"/api/runs?queued_before={day}",
        "/api/runs?where=data.user_id = 42",
        "/api/runs?where=error: refused",
        "/api/runs/stats",
        "/api/functions/stats",
        f"/api/functions/{slug}/stats",
        f"/api/functions/{slug}/failures",
        "/api/events",
        "/api/events?name=shop/f03.created",
        "/api/events/names",
        "/api/logs",
    )
    found: dict[str, list[float]] = {}
    for path in paths:
        base, _, query = path.partition("?")
        params = dict(part.split("=", 1) for part in query.split("&")) if query else {}

        def ask(base: str = base, params: dict[str, Any] = params) -> None:
            http.get(base, params=params).raise_for_status()

        found[path] = [timed(ask) for _ in range(_REQUESTS)]
    return found


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95) - 1]


def report(server: Server, marked: Marked, minutes: int) -> None:
    with (
        httpx2.Client(base_url=server.url, timeout=30, trust_env=False) as http,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened(browser, server, "/runs", _ROW)  # the database's own cache
        paints = [opened(browser, server, "/runs", _ROW)[0] for _ in range(_ROUNDS)]
        say("runs page, first rows", statistics.median(paints), 1000)
        runs = [opened(browser, server, f"/runs/{marked.long}", "[role=treeitem]") for _ in range(_ROUNDS)]
        say("run of 1,000 steps, first rows", statistics.median(first for first, _ in runs), 1500)
        say("run of 1,000 steps, interactive", statistics.median(calm for _, calm in runs), 1500)
        context = browser.new_context(base_url=server.url, viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.goto(f"/runs/{marked.long}")
        page.wait_for_selector("[role=treeitem]")
        frames: list[float] = page.evaluate(_SCROLL, _FRAMES)
        say("scrolling its waterfall, frame p95", p95(frames), 34)
        times = heard(page, http)
        say("a commit seen on the page, p50", statistics.median(times), 300)
        say("a commit seen on the page, p95", p95(times), 300)
        context.close()
        for path, values in answers(http).items():
            say(f"{path}, p95", p95(values), 300)
        if minutes:
            sizes = memory(browser, server, http, minutes)
            print("heap by the minute, MB:", ", ".join(f"{size:.1f}" for size in sizes), flush=True)
        browser.close()


def say(what: str, ms: float, most_ms: float) -> None:
    print(f"{what:60} {ms:9.0f} ms  {'' if ms <= most_ms else f'over the {most_ms:.0f} asked for'}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.dashboard", description="Measure the dashboard.")
    parser.add_argument("--db", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=int, default=0, help="how long to watch a page's memory")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="stepwell-bench-") as name,
        databases(options.db, folder := Path(name)) as (create_database, _),
    ):
        db = create_database("dashboard")
        marked = fill(db, options.runs)
        with stepwell(db, folder) as server:
            report(server, marked, options.minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
