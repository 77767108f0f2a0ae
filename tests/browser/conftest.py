"""What the browser tests share: a server and an app of their own, and pages of a real, headless Chromium.

Things are found by role and label, as a screen reader finds them. Each page must keep its console clean.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.e2e.harness import Server

AXE = Path(__file__).parents[2] / "ui/node_modules/axe-core/axe.min.js"
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
WAIT_MS = 10_000

NewPage = Callable[..., Page]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder where there is no browser."""
    if CHROMIUM is None:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="there is no Chromium: apt-get install chromium"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for a module: while Playwright's loop runs in this thread, asynchronous tests of others can't."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A development server without apps, for all tests of a module."""
    server = Server(tmp_path_factory.mktemp("server"), "dev")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def new_page(browser: Browser) -> Generator[NewPage]:
    """Open pages, each in a browser of its own; fail the test when one of them writes an error to its console."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # What the server refuses is written by the browser itself; pages show it.
        if message.type == "error" and "Failed to load resource" not in message.text:
            errors.append(message.text)

    def open_page(base_url: str, *, scheme: str = "light", width: int = 1440, height: int = 900) -> Page:
        context = browser.new_context(
            base_url=base_url,
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": height},
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    expect.set_options(timeout=WAIT_MS)
    yield open_page
    found = list(errors)  # a page that is closed while it fetches something may say so
    for context in contexts:
        context.close()
    assert found == []


@pytest.fixture
def page(new_page: NewPage, server: Server) -> Page:
    """A page of the module's server."""
    return new_page(server.url)


def assert_accessible(page: Page) -> None:
    """Have axe look at a page: it must find nothing serious."""
    # A colour that is on its way to another may be too faint for a moment.
    page.evaluate(
        "Promise.allSettled(document.getAnimations().filter(one => one instanceof CSSTransition).map(one => one.finished))"
    )
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    serious = [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def assert_fits(page: Page) -> None:
    """Check that nothing makes the page scroll sideways, as a whole or inside the frame."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.get_by_role("main").evaluate("main => main.scrollWidth <= main.clientWidth")
