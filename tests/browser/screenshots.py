"""``python -m tests.browser.screenshots`` (``./dev screenshots``): pictures of the main pages, for the README.

A dev server with the demo app is started; when enough has happened, its pages are shown to a headless Chromium, in both
colour schemes and at both widths, and ``docs/images/`` is written anew.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import CHROMIUM
from tests.e2e.harness import ROOT, Server, eventually

FOLDER = ROOT / "docs/images"
BYTES_MAX = 200_000
"""Of one picture: a README is read on the train, too."""
RUNS = 30
LIFE_S = 300.0
DESKTOP = (1200, 720)
PHONE = (390, 780)


class Shot(NamedTuple):
    """A page, and how it is looked at."""

    name: str
    path: str
    scheme: str = "dark"
    size: tuple[int, int] = DESKTOP


def main() -> None:
    """Write the pictures."""
    assert CHROMIUM, "there is no Chromium: apt-get install chromium"
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(Path(folder), "dev") as server,
        sync_playwright() as playwright,
    ):
        server.api("/demo", method="POST", json={"on": True})
        [run] = eventually(lambda: life(server), what=f"{RUNS} runs of the demo have ended", within_s=LIFE_S)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for shot in shots(run):
            size = take(browser, server.url, shot)
            sys.stdout.write(f"{shot.name}.png  {size // 1000} kB\n")
        browser.close()


def life(server: Server) -> list[str]:
    """Return the id of a run that is worth a look, alone, once there is enough to see on every page; till then nothing."""
    ended = server.api("/runs", params={"status": "completed,failed", "limit": 100})["items"]
    orders = [run["id"] for run in ended if run["function"].endswith("process-order")]
    return orders[:1] if len(ended) >= RUNS else []


def shots(run: str) -> list[Shot]:
    """Return what there is to be seen."""
    return [
        Shot("runs-dark", "/runs"),
        Shot("runs-light", "/runs", "light"),
        Shot("runs-phone", "/runs", "light", PHONE),
        Shot("run-dark", f"/runs/{run}"),
        Shot("run-light", f"/runs/{run}", "light"),
        Shot("run-phone", f"/runs/{run}", "dark", PHONE),
        Shot("functions-dark", "/functions"),
        Shot("functions-light", "/functions", "light"),
        Shot("function-dark", "/functions/stepwell-demo-resize-photo?hours=1"),
        Shot("events-light", "/events", "light"),
        Shot("logs-dark", "/logs"),
        Shot("logs-light", "/logs", "light"),
        Shot("send-dark", "/send?name=demo%2Forder.placed"),
    ]


def take(browser: Browser, url: str, shot: Shot) -> int:
    """Take a picture; return its bytes. Fails for one that is too large."""
    width, height = shot.size
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if shot.scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(shot.path)
    settle(page)
    file = FOLDER / f"{shot.name}.png"
    page.screenshot(path=file, animations="disabled")
    context.close()
    size = file.stat().st_size
    assert size <= BYTES_MAX, f"{file.name} has {size} bytes; the limit is {BYTES_MAX}"
    return size


def settle(page: Page) -> None:
    """Wait until a page shows what it has."""
    expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=15_000)
    # Below a list stands a place for the rows that are fetched when it is scrolled into view.
    expect(page.get_by_role("status", name="Loading").first).not_to_be_in_viewport(timeout=15_000)
    page.evaluate("document.fonts.ready")
    # Charts and virtual lists are laid out in the frames after their data came.
    page.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 400))))"
    )


if __name__ == "__main__":
    main()
