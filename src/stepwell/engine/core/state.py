"""A run's state in memory: the fold of its transitions.

``advance`` only reads it; ``apply`` changes it, after the transition is committed. The memo is never copied: what a
call needs (the sorted members of ``steps``, the stack) is kept up to date step by step.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence

import msgspec

from stepwell.engine.core.model import Job, JobKind, Run, Step, Transition


def member_bytes(step_id: str, memo: bytes) -> int:
    """Return what a step adds to the size of a state: a member of ``steps``, with quotes, colon and comma."""
    return len(step_id) + len(memo) + 4


class RunState:
    """One run, its trigger events, its memo in order of completion, and its pending jobs."""

    __slots__ = (
        "checkpointed",
        "event",
        "event_bytes",
        "events",
        "guard_count",
        "joined",
        "jobs",
        "memo",
        "memo_bytes",
        "pending",
        "run",
        "stack",
        "steps_sorted",
    )

    def __init__(
        self,
        run: Run,
        event: bytes,
        steps: Iterable[Step] = (),
        jobs: Iterable[Job] = (),
        events: Sequence[bytes] = (),
    ) -> None:
        self.run = run
        self.event = event
        self.events: Sequence[bytes] = events or (event,)
        """All of them, the first one first: several for a batch."""
        self.event_bytes = sum(map(len, self.events))
        self.memo: dict[str, bytes] = {}
        self.stack: list[str] = []
        self.steps_sorted: list[bytes] = []
        """The members ``"<step id>":<memo>`` in JCS order, ready to be joined into a call."""
        self.memo_bytes = 0
        self.jobs: dict[str, Job] = {}
        self.pending: set[str] = set()
        """The steps that are planned or asleep."""
        self.joined: set[str] = set()
        """The pending jobs of which only the last to end is followed by a discovery."""
        self.guard_count = 0
        self.checkpointed: dict[str, int] = {}
        """How many steps the call of a job reported while it went on: it knows of them."""
        for step in steps:
            self._remember(step)
        for job in jobs:
            self.put(job)

    @property
    def size_bytes(self) -> int:
        """What the state of a call weighs: event and memo."""
        return self.event_bytes + self.memo_bytes

    @property
    def driver_count(self) -> int:
        """How many jobs bring the run on; one that isn't finished has at least one."""
        return len(self.jobs) - self.guard_count

    @property
    def step_count(self) -> int:
        """How many steps the run has begun."""
        return len(self.memo) + len(self.pending)

    @property
    def must_plan(self) -> bool:
        """Tell whether a call may not run new steps inline (protocol 4.10).

        While a planned step is pending, the SDK can't tell it from a new one, and would run it a second time.
        """
        return self.run.is_plan_forced or any(job.kind is JobKind.STEP for job in self.jobs.values())

    def apply(self, transition: Transition) -> None:
        """Take over a committed transition."""
        assert transition.run.version == self.run.version + 1, "a transition was applied out of order"
        self.run = transition.run
        if transition.is_final:
            for job in list(self.jobs.values()):
                self._remove(job)
        elif transition.job is not None:
            self._remove(self.jobs[transition.job.id])
        elif transition.kept is not None:
            job = self.jobs[transition.kept.id]
            self.jobs[job.id] = msgspec.structs.replace(job, attempt=0, lost_count=0)
            self.checkpointed[job.id] = self.checkpointed.get(job.id, 0) + len(transition.steps)
        for job in () if transition.is_final else transition.closed:
            held = self.jobs.get(job.id)
            if held is not None and held.owner is None and held.generation == job.generation:  # else it had begun
                self._remove(held)
        for step in transition.steps:
            self._remember(step)
        for job in transition.jobs:
            self.put(job)

    def put(self, job: Job) -> None:
        """Take over a job as it is now: new, leased or released."""
        if job.kind.is_guard:
            self.guard_count += job.id not in self.jobs
        elif job.kind is not JobKind.DISCOVER:
            self.pending.add(job.step_id)
        self.jobs[job.id] = job
        if job.is_joined:
            self.joined.add(job.id)

    def is_pending(self, step_id: str) -> bool:
        """Tell whether a step is planned or asleep, so that it must not be begun again."""
        return step_id in self.pending

    def _remove(self, job: Job) -> None:
        del self.jobs[job.id]
        self.guard_count -= job.kind.is_guard
        self.pending.discard(job.step_id)
        self.joined.discard(job.id)
        self.checkpointed.pop(job.id, None)

    def _remember(self, step: Step) -> None:
        assert step.id not in self.memo, "a step's result was recorded twice"
        assert step.position == len(self.stack), "a step was recorded out of order"
        member = b'"%b":%b' % (step.id.encode(), step.memo)
        self.memo[step.id] = step.memo
        self.stack.append(step.id)
        insort(self.steps_sorted, member)
        self.memo_bytes += member_bytes(step.id, step.memo)
