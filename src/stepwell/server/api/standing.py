"""Where a run stands, with what this server knows of its function and its app."""

from __future__ import annotations

from stepwell.engine.core.model import Run
from stepwell.engine.core.rules import PLAIN
from stepwell.engine.core.standing import Standing, Surroundings, limitings
from stepwell.server.context import Context


async def find_standing(context: Context, run: Run, *, now: int) -> tuple[Standing, Surroundings] | None:
    """Return where a run stands now; None when it was deleted meanwhile."""
    around = await _surroundings(context, run)
    standing = await context.engine.store.load_standing(
        run.id, lambda partition: limitings(partition, around.function, around.rules), now=now
    )
    return (standing, around) if standing is not None else None


async def _surroundings(context: Context, run: Run) -> Surroundings:
    engine = context.engine
    function = await engine.registries.find(run)
    apps = await engine.store.load_apps(engine.environment)
    app = next(app for app in apps if app.id == function.app_id)
    return Surroundings(
        function=function,
        rules=engine.registry.rules(function) or PLAIN,
        app=app.name,
        is_app_archived=app.archived_at is not None,
        calls_max=context.settings.calls_per_app_max,
        calls_free=engine.free_calls(function.app_id),
        names={other.id: other.slug for other in engine.registry.by_id.values()},
    )
