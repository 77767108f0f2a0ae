"""What a group commit locks before it reads: names of events and keys of flow control (design 5.2, 5.5).

On PostgreSQL these are advisory transaction locks, taken with the fence, the smallest number first, so that two batches wait
for each other in one direction only. Whoever sends an event shares its name; who looks back for one, or touches a key,
has it alone. SQLite has one writer and needs none.

A server has room for some thousand locks, which all that use it share: a batch that would need many locks everything
instead, which is what all others share before they lock a part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from stepwell.engine.core.model import Intake, Transition, WaitKind
from stepwell.limits import LOCKS_MAX
from stepwell.store.admission import admission_keys
from stepwell.store.found import Fault
from stepwell.store.request import (
    ClaimRequest,
    CommitRequest,
    FireRequest,
    IngestRequest,
    RepairRequest,
    Request,
    SignalRequest,
    TickRequest,
)

_EVERYTHING: Final = -(1 << 63)  # it comes before all others
_SLOTS: Final = (Fault.SLOT_OF_ENDED_RUN, Fault.SLOT_WITHOUT_LEASE)


def locks_of(requests: Sequence[Request]) -> tuple[list[int], list[bool]]:
    """Return the locks that a batch takes, sorted, and of each whether it is shared."""
    shared: set[str] = set()
    alone: set[str] = set()
    for request in requests:
        match request:
            case IngestRequest():
                _add_intakes(request.intakes, shared, alone)
            case CommitRequest():
                _add_intakes(request.intakes, shared, alone)
                _add_waits(request.transition, alone)
            case TickRequest():
                _add_intakes((tick.intake for tick in request.ticks if tick.intake is not None), shared, alone)
            case ClaimRequest():
                for want in request.wants:
                    alone.update(slot.key for slot in want.slots)
                    if want.throttle is not None:
                        alone.add(want.throttle.key)
            case SignalRequest():
                alone.add(_signal(request.environment, request.name))
            case FireRequest():
                alone.update(fire.key for fire in request.fires)
                alone.update(key for start in request.starts for key in admission_keys(start))
            case RepairRequest():
                alone.update(key[0] for fault in _SLOTS for key in request.found.get(fault, ()))
            case _:
                pass
    numbers = {_number(name): True for name in shared} | {_number(name): False for name in alone}
    if not numbers:
        return [], []
    if len(numbers) > LOCKS_MAX:
        return [_EVERYTHING], [False]
    locks = [(_EVERYTHING, True), *sorted(numbers.items())]
    return [number for number, _ in locks], [is_shared for _, is_shared in locks]


def _add_intakes(intakes: Iterable[Intake], shared: set[str], alone: set[str]) -> None:
    for intake in intakes:
        shared.add(intake.event.name)
        for start in intake.starts:
            if start.admission is not None:
                alone.update(admission_keys(start))


def _add_waits(transition: Transition, alone: set[str]) -> None:
    for wait in transition.waits:
        if wait.kind is WaitKind.SIGNAL:
            alone.add(_signal(wait.environment, wait.name))
        elif wait.since is not None:
            alone.add(wait.name)


def _signal(environment: str, name: str) -> str:
    return f"signal/{environment}/{name}"


@lru_cache(maxsize=8192)
def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), signed=True)
