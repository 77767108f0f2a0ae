"""Jobs that a transition gave up, as far as nobody had begun them: what memory makes of those that somebody had."""

from __future__ import annotations

import msgspec

from stepwell.engine.core.jobs import first_job
from stepwell.engine.core.model import Transition
from stepwell.engine.core.state import RunState
from stepwell.engine.core.trigger import new_run
from stepwell.protocol.ids import JobId, RunId
from tests.unit.engine.making import ME, T0, event_of, function_of, ulid


def test_a_job_that_was_claimed_before_it_could_be_given_up_stays() -> None:
    """The database kept it, since it was leased; its reply would find no job in memory."""
    run = new_run(event_of(), function_of(), now=T0, run_id=RunId(ulid(1)), partition="p")
    caller = first_job(run, partition="p", max_attempts=5, due_at=T0)
    loser, untouched = (msgspec.structs.replace(caller, id=JobId(id), step_id=id) for id in ("1.0", "1.1"))
    state = RunState(run, event_of().body, (), (caller, loser, untouched))
    state.put(msgspec.structs.replace(loser, owner=ME, leased_at=T0, generation=1))

    state.apply(Transition(run=msgspec.structs.replace(run, version=1), at=T0, job=caller, closed=(loser, untouched)))

    assert set(state.jobs) == {"1.0"}
