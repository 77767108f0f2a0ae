"""A fault at every point: each statement of each transaction of a scene, and each commit, is made to fail in turn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.points import Kind, Scene

OWN_FILE = 0
PARTS = 2
"""Into how many tests the points of one kind are cut, so that they can be shared out."""


def play(folder: Path, replicas: int, kind: Kind, at: int | None = None) -> Scene:
    scene = Scene(folder, replicas=replicas, kind=kind, at=at)
    scene.play()
    for file in folder.iterdir():
        file.unlink()
    return scene


def play_each(folder: Path, replicas: int, kind: Kind, part: int) -> None:
    """Strike at each point of the scene, as counted without a fault; what comes after one may have more of them."""
    count = play(folder, replicas, kind).count
    assert count > (20 if kind.is_after_commit else 100)
    for at in range(1 + part, count + 1, PARTS):
        scene = play(folder, replicas, kind, at)
        assert scene.count >= at, "the fault never struck"


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.CRASH, Kind.CRASH_AFTER])
def test_one_server_recovers_from_a_fault_at_every_point(kind: Kind, part: int, tmp_path: Path) -> None:
    play_each(tmp_path, OWN_FILE, kind, part)


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", list(Kind))
def test_two_replicas_recover_from_a_fault_at_every_point(kind: Kind, part: int, tmp_path: Path) -> None:
    play_each(tmp_path, 2, kind, part)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(
    ("replicas", "kind"), [(OWN_FILE, Kind.UNAVAILABLE), *((count, kind) for count in (1, 3) for kind in Kind)]
)
def test_any_number_of_replicas_recovers(replicas: int, kind: Kind, part: int, tmp_path: Path) -> None:
    play_each(tmp_path, replicas, kind, part)
