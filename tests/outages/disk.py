"""A disk that is small enough to be filled: memory, mounted as a file system."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

_PIECE: Final = bytes(64 * 1024)


class Disk:
    """A mounted file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Leave no room at all."""
        with self._ballast.open("ab", buffering=0) as file:
            size = len(_PIECE)
            while size:
                try:
                    file.write(_PIECE[:size])
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def mounted(folder: Path, *, size_mib: int, owner: int = 0) -> Generator[Disk]:
    """Mount a disk on a new folder; skip the test where that isn't allowed."""
    folder.mkdir()
    options = f"size={size_mib}m,mode=700,uid={owner},gid={owner}"
    try:
        _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder)
    except (OSError, subprocess.CalledProcessError) as error:
        folder.rmdir()
        pytest.skip(f"a small disk can't be mounted by this user: {error}")
    try:
        yield Disk(folder)
    finally:
        _run("umount", folder)
        folder.rmdir()


def _run(*command: str | Path) -> None:
    subprocess.run(command, stderr=subprocess.DEVNULL, timeout=10, check=True)
