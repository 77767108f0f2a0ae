"""Names of events, with an example of each: for editors that know what is usually sent."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stepwell.engine.core.trigger import matches_name
from stepwell.limits import PAGE_ROWS_MAX
from stepwell.protocol.duration import time_text
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.context import Context
from stepwell.store.found import NamedEvent


class EventName(msgspec.Struct, frozen=True, kw_only=True):
    """A name that events have, or that a trigger has."""

    name: str
    last_at: str | None
    """When the last one came; null where none did lately."""
    example: msgspec.Raw | None
    """The data of the last one; null where none came lately, and where it is too large for an example."""
    functions: list[str]
    """Those with a trigger of that name."""


class EventNames(msgspec.Struct, frozen=True):
    """Names of the newest events, the newest first; then those that only triggers have."""

    items: list[EventName]


class EventNamesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many names to list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_ROWS_MAX)] = 50


class _Body(msgspec.Struct, frozen=True):
    data: msgspec.Raw


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoint that lists names of events."""
    return [
        Endpoint(
            "GET",
            "/api/events/names",
            "List names of events, with examples",
            EventNames,
            list_event_names,
            query=EventNamesQuery,
            body=Nothing,
        )
    ]


async def list_event_names(call: Call[EventNamesQuery, Nothing]) -> EventNames:
    """List the names of the newest events, and those of triggers."""
    engine, limit = call.context.engine, call.query.limit
    items = [
        EventName(
            name=event.name,
            last_at=time_text(event.received_at),
            example=_data(event),
            functions=_triggered(call.context, event.name),
        )
        for event in await engine.store.insight.recent_names(engine.environment, limit=limit)
    ]
    seen = {item.name for item in items}
    patterns = {
        trigger.event
        for function in engine.registry.by_slug.values()
        for trigger in function.config.triggers
        if trigger.event is not None and "*" not in trigger.event
    }
    items += [
        EventName(name=name, last_at=None, example=None, functions=_triggered(call.context, name))
        for name in sorted(patterns - seen)
    ]
    return EventNames(items[:limit])


def _data(event: NamedEvent) -> msgspec.Raw | None:
    if event.original is not None:
        return msgspec.Raw(event.original)
    return msgspec.json.decode(event.body, type=_Body).data if event.body is not None else None


def _triggered(context: Context, name: str) -> list[str]:
    return sorted(
        function.slug
        for function in context.engine.registry.by_slug.values()
        if any(trigger.event is not None and matches_name(trigger.event, name) for trigger in function.config.triggers)
    )
