"""The body of a call is joined from pieces, and yet canonical (protocol 4.2)."""

from __future__ import annotations

from typing import Any

import msgspec
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from stepwell.protocol.call import Call, call_body
from stepwell.protocol.event import event_body
from tests.unit.protocol.test_canonical import TEXT, VALUES

OBJECTS = st.dictionaries(TEXT, VALUES, max_size=3)
EVENTS = st.builds(
    dict,
    name=TEXT,
    id=TEXT,
    ts=st.integers(0, 4_102_444_800_000),
    data=OBJECTS,
    user=OBJECTS,
    v=st.none() | TEXT,
    meta=st.none() | OBJECTS,
)
IDS = st.text("0123456789abcdef", min_size=40, max_size=40)


def encoded(event: dict[str, Any]) -> bytes:
    return event_body(
        name=event["name"],
        id=event["id"],
        ts=event["ts"],
        data=rfc8785.dumps(event["data"]),
        user=rfc8785.dumps(event["user"]),
        v=event["v"],
        meta=None if event["meta"] is None else rfc8785.dumps(event["meta"]),
    )


def plain(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if value is not None}


@given(EVENTS)
def test_an_event_is_joined_as_the_standard_has_it(event: dict[str, Any]) -> None:
    assert encoded(event) == rfc8785.dumps(plain(event))


@given(
    events=st.lists(EVENTS, min_size=1, max_size=2),
    memo=st.dictionaries(IDS, VALUES, max_size=4),
    names=st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT),
    numbers=st.tuples(st.integers(0, 20), st.integers(1, 21), st.integers(0, 1000), st.integers(1, 99)),
    version=st.sampled_from([-1, 0, 1, 2]),
    flags=st.tuples(st.booleans(), st.booleans()),
)
def test_a_call_is_joined_as_the_standard_has_it(
    events: list[dict[str, Any]],
    memo: dict[str, Any],
    names: tuple[str, str, str, str, str],
    numbers: tuple[int, int, int, int],
    version: int,
    flags: tuple[bool, bool],
) -> None:
    run_id, function_id, job_id, request_id, environment = names
    attempt, max_attempts, current, generation = numbers
    is_planned, use_api = flags
    stack = list(memo)

    body = call_body(
        run_id=run_id,
        function_id=function_id,
        job_id=job_id,
        request_id=request_id,
        generation=generation,
        attempt=attempt,
        max_attempts=max_attempts,
        environment=environment,
        version=version,
        disable_immediate_execution=is_planned,
        stack=stack,
        stack_current=current,
        event=encoded(events[0]),
        events=[encoded(event) for event in events],
        memo=sorted(b'"%b":%b' % (id.encode(), rfc8785.dumps(value)) for id, value in memo.items()),
        use_api=use_api,
    )

    expected = {
        "version": version,
        "use_api": use_api,
        "event": plain(events[0]),
        "events": [plain(event) for event in events],
        "steps": {} if use_api else memo,
        "ctx": {
            "run_id": run_id,
            "env": environment,
            "fn_id": function_id,
            "step_id": "step",
            "attempt": attempt,
            "max_attempts": max_attempts,
            "stack": {"stack": stack, "current": current},
            "disable_immediate_execution": is_planned,
            "use_api": use_api,
            "qi_id": job_id,
            "job_id": job_id,
            "request_id": request_id,
            "generation_id": generation,
        },
    }
    assert body == rfc8785.dumps(expected)
    call = msgspec.json.decode(body, type=Call)
    assert call.ctx.attempt == attempt
    assert list(call.steps) == ([] if use_api else sorted(memo))
