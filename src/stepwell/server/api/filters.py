"""What several lists and charts are filtered by, read from their queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from stepwell.engine.core.model import Function, RunStatus
from stepwell.limits import DEBOUNCE_PERIOD_MS_MAX, RUN_IDS_MAX
from stepwell.protocol.ids import AppId, FunctionId
from stepwell.server.api.page import is_ulid
from stepwell.server.context import ApiError, Context

Statuses: TypeAlias = Annotated[
    str | None, msgspec.Meta(description=f"One or several of {', '.join(RunStatus)}, with commas between.")
]
Ids: TypeAlias = Annotated[
    str | None,
    msgspec.Meta(description=f"Up to {RUN_IDS_MAX} ids, with commas between. The other filters don't count then."),
]

_STATUSES: Final = {status.value: status for status in RunStatus}


def read_statuses(text: str | None) -> frozenset[RunStatus]:
    """Read statuses. Raises ``ApiError`` 400 for one that isn't one."""
    if text is None:
        return frozenset()
    unknown = [word for word in text.split(",") if word not in _STATUSES]
    if unknown:
        raise ApiError(400, "invalid_query", f"{unknown[0][:100]!r} is none of {', '.join(_STATUSES)}", path="$.status")
    return frozenset(_STATUSES[word] for word in text.split(","))


def read_ids(text: str) -> list[str]:
    """Read ids. Raises ``ApiError`` 400 for too many, and for what is none."""
    ids = text.split(",")
    if len(ids) > RUN_IDS_MAX:
        raise ApiError(400, "invalid_query", f"{len(ids)} ids; the limit is {RUN_IDS_MAX}", path="$.ids")
    bad = [id for id in ids if not is_ulid(id)]
    if bad:
        raise ApiError(400, "invalid_query", f"not an id: {bad[0][:100]!r}", path="$.ids")
    return ids


def function_ids(
    context: Context, apps: dict[AppId, str], *, function: str | None, app: str | None
) -> tuple[FunctionId, ...] | None:
    """Return the functions that a filter is for, archived ones too; None for all. Raises ``ApiError`` 404."""
    if function is None and app is None:
        return None
    if app is not None and app not in apps.values():
        raise ApiError(404, "app_not_found", f"there is no app {app[:300]!r}", path="$.app")
    known = context.engine.registry.by_id.values()
    if function is not None and all(one.slug != function for one in known):
        raise ApiError(404, "function_not_found", f"there is no function {function[:300]!r}", path="$.function")
    return tuple(one.id for one in known if function in (None, one.slug) and app in (None, apps[one.app_id]))


def find_function(context: Context, slug: str) -> Function:
    """Return a function, archived or not. Raises ``ApiError`` 404."""
    for function in context.engine.registry.by_id.values():
        if function.slug == slug:
            return function
    raise ApiError(404, "function_not_found", f"there is no function {slug[:300]!r}: is its app synced?")


def gathering_ms_max(context: Context, ids: Sequence[FunctionId] | None) -> int:
    """Return how long functions may gather events before a run of theirs is queued."""
    registry = context.engine.registry
    longest = 0
    for function in registry.by_id.values():
        rules = registry.rules(function)
        if rules is None or (ids is not None and function.id not in ids):
            continue
        if rules.debounce is not None:
            longest = max(longest, rules.debounce.timeout_ms or DEBOUNCE_PERIOD_MS_MAX)
        if rules.batch is not None:
            longest = max(longest, rules.batch.timeout_ms)
    return longest
