"""Events: send, list, show. Lists hold no payloads; those come with the single event."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from stepwell.engine.core.invoke import parent_of
from stepwell.engine.core.model import Event, GatherKind, RunStatus
from stepwell.errors import EventError
from stepwell.limits import EVENTS_PER_REQUEST_MAX, INGEST_BODY_BYTES_MAX
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import EventId, ulid_ms
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, JsonObject, Nothing, absent, decode_body
from stepwell.server.api.filters import Ids, read_ids
from stepwell.server.api.page import PAGE_ROWS, Cursor, Instant, Limit, is_ulid, read_cursor, read_instant
from stepwell.server.api.preview import preview
from stepwell.server.api.search import search_events
from stepwell.server.api.where import EVENT_NAMES, read_where
from stepwell.server.context import ApiError, Context
from stepwell.server.ingest import read_events
from stepwell.store.found import EventFilter, FoundEvents


class NewEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event to send. ``id`` is an idempotency key for 24 hours; a future ``ts`` (Unix ms) delays the runs."""

    name: str
    data: JsonObject = msgspec.field(default_factory=absent)
    id: str | None = None
    ts: int | None = None
    user: JsonObject = msgspec.field(default_factory=absent)
    v: str | None = None
    meta: JsonObject = msgspec.field(default_factory=absent)


class StartedRun(msgspec.Struct, frozen=True):
    """A run that an event started."""

    id: str
    function: str
    is_skipped: bool
    """The event's own id had started this function within 24 hours."""


class TakenEvent(msgspec.Struct, frozen=True):
    """An event that is on disk, with what it started."""

    id: str
    event_id: str
    name: str
    runs: list[StartedRun]


class TakenEvents(msgspec.Struct, frozen=True):
    """What became of the events, in the order in which they were sent."""

    events: list[TakenEvent]


class EventFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an event is. ``id`` is the server's, ``event_id`` the sender's (or the same)."""

    id: str
    event_id: str
    name: str
    ts: str
    received_at: str
    is_internal: bool


class CausedRunView(msgspec.Struct, frozen=True):
    """A run that an event started, or is in the batch of."""

    id: str
    function: str
    status: RunStatus


class GatheringView(msgspec.Struct, frozen=True):
    """A batch or debounce that an event waits in. ``run_id`` is the id that its run will have."""

    run_id: str
    function: str
    kind: GatherKind
    starts_at: str
    """When the run starts at the latest, if no other event joins."""


class EventSummary(EventFacts, frozen=True, kw_only=True):
    """An event without its payload, with its first 10 runs."""

    preview: str | None
    """What it says, in one line; null for a large one."""
    runs: list[CausedRunView]
    gatherings: list[GatheringView]
    """Up to 10. Each goes when its run has come."""


class EventView(EventFacts, frozen=True, kw_only=True):
    """An event as it was sent."""

    data: msgspec.Raw
    user: msgspec.Raw
    v: str | None
    meta: msgspec.Raw | None


class EndedWaitView(msgspec.Struct, frozen=True):
    """A step that waited for an event, and got it."""

    run_id: str
    step: str
    function: str


class SenderView(msgspec.Struct, frozen=True):
    """The step that sent an event."""

    run_id: str
    step: str | None


class EventDetail(EventView, frozen=True, kw_only=True):
    """An event with what it is connected with."""

    resolved_waits: list[EndedWaitView]
    """Up to 100."""
    sent_by: SenderView | None


class EventPage(msgspec.Struct, frozen=True):
    """Events, newest first."""

    items: list[EventSummary]
    next_cursor: str | None
    searched_until: str | None = None
    """Set where the search was broken off before the page was full: down to this time it has looked. The next page goes
    on from there."""


class EventsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which events to list."""

    name: str | None = None
    ids: Ids = None
    where: Annotated[str | None, msgspec.Meta(description="CEL over event; or `data.user_id = 42`.")] = None
    received_after: Instant = None
    received_before: Instant = None
    internal: Annotated[bool, msgspec.Meta(description="With those that the server itself sends.")] = False
    cursor: Cursor = None
    limit: Limit = PAGE_ROWS


class _Stored(msgspec.Struct, frozen=True):
    data: msgspec.Raw
    user: msgspec.Raw
    v: str | None = None
    meta: msgspec.Raw | None = None


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints about events."""
    return [
        Endpoint(
            "POST",
            "/api/events",
            "Send one event, or a list of them",
            TakenEvents,
            send_events,
            query=Nothing,
            body=bytes,
            read=_checked_body,
            body_schema=NewEvent | list[NewEvent],
            body_bytes_max=INGEST_BODY_BYTES_MAX,
        ),
        Endpoint("GET", "/api/events", "List events", EventPage, list_events, query=EventsQuery, body=Nothing),
        Endpoint("GET", "/api/events/{id}", "Show an event", EventDetail, show_event, query=Nothing, body=Nothing),
    ]


async def send_events(call: Call[Nothing, bytes]) -> TakenEvents:
    """Store events and start what they trigger."""
    engine = call.context.engine
    events = read_events(
        call.body, seed=None, new_id=engine.ids, environment=engine.environment, now=engine.clock.now()
    )
    if not events:
        raise EventError("there is no event in the body")
    accepted = await engine.ingest(events)
    by_id = engine.registry.by_id
    return TakenEvents(
        [
            TakenEvent(
                id=intake.event.id,
                event_id=intake.event.event_id,
                name=intake.event.name,
                runs=[
                    StartedRun(run.id, by_id[run.function_id].slug, run.id in accepted.result.skipped)
                    for run in intake.runs
                ],
            )
            for intake in accepted.intakes
        ]
    )


async def list_events(call: Call[EventsQuery, Nothing]) -> EventPage:
    """List events, newest first."""
    query, context = call.query, call.context
    engine = context.engine
    if query.ids is not None:
        ids = [EventId(id) for id in read_ids(query.ids)]
        some = await engine.store.insight.events_by_id(engine.environment, ids)
        return await _page(context, some, limit=len(ids))
    which = EventFilter(
        environment=engine.environment,
        name=query.name,
        received_from=read_instant(query.received_after, "received_after"),
        received_until=read_instant(query.received_before, "received_before"),
        before=read_cursor(query.cursor),
        limit=query.limit + 1,
        with_internal=query.internal,
    )
    where = read_where(query.where, EVENT_NAMES)
    if where is not None:
        found = await search_events(context, which, where)
    else:
        found = await engine.store.insight.find_events(which)
    return await _page(context, found, limit=query.limit)


async def _page(context: Context, found: FoundEvents, *, limit: int) -> EventPage:
    events = found.events[:limit]
    small = await context.engine.store.insight.small_events([event.id for event in events])
    previews = {id: preview(*said) for id, said in small.items()}
    items = [_summary(context, event, found, previews.get(event.id)) for event in events]
    if len(found.events) > limit:
        return EventPage(items, events[-1].id)
    searched_to = found.searched_to
    return EventPage(items, searched_to, time_text(ulid_ms(searched_to)) if searched_to is not None else None)


async def show_event(call: Call[Nothing, Nothing]) -> EventDetail:
    """Show one event."""
    context = call.context
    event = await find_event(context, call.path["id"])
    insight, by_id = context.engine.store.insight, context.engine.registry.by_id
    links = await insight.load_event_links(event.id)
    sent_by = SenderView(links.sent_by[0], links.sent_by[2]) if links.sent_by is not None else None
    parent = parent_of(event.body)
    if sent_by is None and parent is not None:
        sent_by = SenderView(parent[0], await insight.step_title(*parent))
    return EventDetail(
        **_fields(event),
        resolved_waits=[EndedWaitView(one.run_id, one.step, by_id[one.function_id].slug) for one in links.waits],
        sent_by=sent_by,
    )


async def find_event(context: Context, id: str) -> Event:
    """Return an event by the server's id. Raises ``ApiError`` 404."""
    event = await context.engine.store.load_event(EventId(id)) if is_ulid(id) else None
    if event is None or event.environment != context.engine.environment:
        raise ApiError(404, "event_not_found", f"there is no event with the id {id[:100]!r}")
    return event


def event_view(event: Event) -> EventView:
    """Show an event with its payload, as it was sent where the canonical form had to round a number."""
    return EventView(**_fields(event))


def _fields(event: Event) -> dict[str, Any]:
    stored = msgspec.json.decode(event.body, type=_Stored)
    return {
        **_facts(event),
        "data": stored.data if event.original is None else msgspec.Raw(event.original),
        "user": stored.user,
        "v": stored.v,
        "meta": stored.meta,
    }


def _facts(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "event_id": event.event_id,
        "name": event.name,
        "ts": time_text(event.ts),
        "received_at": time_text(event.received_at),
        "is_internal": event.is_internal,
    }


def _summary(context: Context, event: Event, found: FoundEvents, preview: str | None) -> EventSummary:
    by_id = context.engine.registry.by_id
    return EventSummary(
        **_facts(event),
        preview=preview,
        runs=[CausedRunView(run.id, by_id[run.function_id].slug, run.status) for run in found.runs.get(event.id, ())],
        gatherings=[
            GatheringView(one.run_id, by_id[one.function_id].slug, one.kind, time_text(one.due_at))
            for one in found.gatherings.get(event.id, ())
            if one.function_id in by_id  # those of functions that aren't there are dropped soon
        ],
    )


def _checked_body(raw: bytes, _type: type[bytes]) -> bytes:
    """Refuse unknown fields; the rest is for ``read_events`` to judge, as at ``/e/``."""
    if raw.lstrip().startswith(b"["):
        sent = decode_body(raw, list[NewEvent])
        if len(sent) > EVENTS_PER_REQUEST_MAX:
            raise ApiError(
                400, "too_many_events", f"{len(sent)} events in one request; the limit is {EVENTS_PER_REQUEST_MAX}"
            )
    else:
        decode_body(raw, NewEvent)
    return raw
