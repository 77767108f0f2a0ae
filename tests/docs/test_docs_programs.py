"""What the README and the documentation show is so: programs run, sessions print what they show, links lead somewhere."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.docs.pages import OPERATIONS, PAGES, Block, Command, blocks, fits, session
from tests.e2e.harness import Port, eventually

PROGRAMS = [block for page in PAGES for block in blocks(page, "python")]
SESSIONS = [
    page
    for page in PAGES
    if page != OPERATIONS  # its servers share a PostgreSQL: test_operations.py
    and any(command.output for command in session(page))
]
LINK = re.compile(r"\]\((?!\w+:)(?P<path>[^)#]*)(?:#(?P<anchor>[^)]*))?\)")
PRELUDE = "import asyncio\nfrom stepwell import *\nsw = Stepwell('docs', is_dev=True)\n"


@pytest.mark.parametrize("block", [block for block in PROGRAMS if block.file_name is None], ids=str)
def test_a_fragment_runs_up_to_its_functions(block: Block) -> None:
    """It may use what ``stepwell`` exports, ``asyncio``, and an app ``sw``."""
    code = compile("\n" * (block.line - 1) + block.text, str(block.page), "exec")
    namespace: dict[str, Any] = {"__name__": "fragment"}
    exec(PRELUDE, namespace)

    exec(code, namespace)


@pytest.mark.parametrize("page", SESSIONS, ids=lambda page: page.name)
def test_a_session_prints_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    for block in blocks(page, "python"):
        if block.file_name is not None:
            (tmp_path / block.file_name).write_text(block.text)

    with Terminals(tmp_path) as terminals:
        for command in session(page):
            terminals.check(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / link["path"]).resolve() if link["path"] else page
        assert target.exists(), link[0]
        if link["anchor"]:
            assert link["anchor"] in anchors(target), link[0]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Terminals:
    """Runs commands of a page in a folder; what the page runs in a terminal of its own goes on beside them.

    Pages use the usual ports. Here each has one that is free, so that several tests can run at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._app_port, self._server_port = Port(), Port()
        self._url = f"http://127.0.0.1:{self._server_port.number}"
        self._beside: dict[str, subprocess.Popen[bytes]] = {}
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("STEPWELL_", "INNGEST_"))},
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "STEPWELL_URL": self._url,
            "STEPWELL_PORT": str(self._server_port.number),
            "PORT": str(self._app_port.number),  # where `stepwell dev` looks, too
        }

    def __enter__(self) -> Terminals:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._beside.values():
            process.kill()
            process.wait()
        self._app_port.release()
        self._server_port.release()

    def check(self, command: Command) -> None:
        """Run a command, and compare what it prints with the page."""
        if command.text.startswith("stepwell runs"):  # what it shows may still be on its way
            eventually(lambda: fits(command, self.enter(command.text)), what=command.text)
        else:
            assert fits(command, self.enter(command.text))

    def enter(self, text: str) -> str:
        """Run a command; return what it prints, or nothing if it goes on."""
        text, _, terminal = text.partition("    # ")
        text = text.replace("8000", str(self._app_port.number)).replace("STEPWELL_DEV=1", f"STEPWELL_DEV={self._url}")
        if text.startswith("pip install "):
            return ""
        if not terminal:
            done = subprocess.run(
                text,
                check=False,
                shell=True,
                cwd=self._folder,
                env=self._environ,
                capture_output=True,
                text=True,
                timeout=40,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout
        name = text.split()[0]
        if name in self._beside:  # "again": it was killed
            self._beside[name].kill()
            self._beside[name].wait()
        with (self._folder / "beside.log").open("ab") as log:
            self._beside[name] = subprocess.Popen(
                f"exec env {text.strip()}",  # in the place of the shell, so that it is what is killed
                shell=True,
                cwd=self._folder,
                env=self._environ,
                stdout=log,
                stderr=log,
            )
        eventually(self._is_ready, what=text)
        return ""

    def _is_ready(self) -> bool:
        """Whether what was started answers, and the app, when both are there, is registered."""
        with contextlib.suppress(httpx2.TransportError):
            if len(self._beside) == 1:
                url = f"http://127.0.0.1:{self._app_port.number}/api/stepwell"
                return httpx2.get(url, trust_env=False).is_success
            functions = httpx2.get(f"{self._url}/api/functions", trust_env=False).json()["items"]
            return any(f":{self._app_port.number}/" in function["url"] for function in functions)
        return False
