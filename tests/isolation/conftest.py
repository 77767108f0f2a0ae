"""One database for all the races of a module, on each version of PostgreSQL; the others than the newest with --long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

pytest.register_assert_rewrite(
    *(
        f"tests.isolation.{name}"
        for name in (
            "pairs_of_runs",
            "pairs_of_replicas",
            "pairs_of_events",
            "pairs_of_waits",
            "pairs_of_flow",
            "pairs_of_retention",
            "world",
        )
    )
)

# After it is known whose asserts are to explain themselves.
from tests.isolation.world import World  # noqa: E402
from tests.postgres import Installation, Postgres, installations  # noqa: E402

VERSIONS = [
    pytest.param(installation, id=installation.name, marks=() if number == 0 else pytest.mark.long)
    for number, installation in enumerate(installations())
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=VERSIONS)
async def world(
    request: pytest.FixtureRequest, postgres_of: Callable[[Installation], Postgres]
) -> AsyncIterator[World]:
    world = await World.open(postgres_of(request.param))
    yield world
    await world.close()
