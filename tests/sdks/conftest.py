"""The worlds that the scenarios run in: each SDK with a dev server, and with a server in production.

``world`` is a fixture of the session, and pytest sorts the tests by its parameter: a worker starts each world once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.harness import Mode, pytest_runtest_makereport
from tests.sdks.provider import Provider
from tests.sdks.world import SDKS, Sdk, World

__all__ = ["pytest_runtest_makereport"]

_MODES: Final[tuple[Mode, ...]] = ("dev", "start")
_WORLDS: Final = [pytest.param((sdk, mode), id=f"{sdk.name}-{mode}") for sdk, mode in itertools.product(SDKS, _MODES)]

_FIXTURES: Final = ("world", "travelling_world", "pair")

FOLDER: Final = Path(__file__).parent
STEPS_MAX: Final = 30
"""How many steps a run may have in the worlds that travel, so that a run soon has too many."""


@pytest.fixture(scope="session", params=_WORLDS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server and an app that is registered with it."""
    chosen: tuple[Sdk, Mode] = request.param
    sdk, mode = chosen
    with World(tmp_path_factory.mktemp(f"{sdk.name}-{mode}"), sdk, mode) as made:
        made.start_slow_runs()
        yield made


@pytest.fixture(scope="session", params=[pytest.param((sdk, "dev"), id=sdk.name) for sdk in SDKS])
def travelling_world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A dev server and an app, whose clock tests may move."""
    sdk, mode = request.param
    flags = ("--steps-per-run", str(STEPS_MAX))
    with World(tmp_path_factory.mktemp(f"{sdk.name}-time"), sdk, mode, *flags) as made:
        yield made


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """What the server asks when a step wants it to."""
    with Provider() as made:
        yield made


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers of this folder."""
    config.addinivalue_line("markers", "only_in(mode): a scenario of dev servers, or of production, alone")
    config.addinivalue_line("markers", "needs_race: a scenario that not every SDK has (Sdk.has_race)")
    config.addinivalue_line("markers", "needs(what): a scenario of apps that try it (Sdk.has)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the worlds in which a scenario makes no sense.

    Not done by parameters of the test: pytest sorts by the number of a parameter in its list, so all need one list.
    """
    ours = [item for item in items if isinstance(item, pytest.Function) and item.path.is_relative_to(FOLDER)]
    left_out = [item for item in ours if not _makes_sense(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _makes_sense(item: pytest.Function) -> bool:
    parameters: dict[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    worlds: list[tuple[Sdk, Mode]] = [parameters[name] for name in _FIXTURES if name in parameters]
    if not worlds:
        return True
    [(sdk, mode)] = worlds
    only_in = item.get_closest_marker("only_in")
    if only_in is not None and mode not in only_in.args:
        return False
    if not all(sdk.has.issuperset(marker.args) for marker in item.iter_markers("needs")):
        return False
    return sdk.has_race or item.get_closest_marker("needs_race") is None
