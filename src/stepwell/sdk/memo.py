"""The memo of a run as the SDK reads it: what each completed step gave (protocol 4.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from stepwell.errors import InvokeTimeoutError, StepError
from stepwell.protocol.canonical import Json
from stepwell.sdk.serialise import decode

_NOTHING: Final = object()
_INVOKE_TIMEOUT: Final = "InngestInvokeTimeoutError"  # protocol 4.4


class Memo:
    """Known results by step id, the order in which they were completed, and how much of it user code has seen."""

    def __init__(self, steps: Mapping[str, msgspec.Raw], stack: Sequence[str]) -> None:
        self._steps: dict[str, Json] = {id: decode(raw) for id, raw in steps.items()}
        self._inputs = {id: entry["input"] for id, entry in self._steps.items() if _key(entry) == "input"}
        for id in self._inputs:
            del self._steps[id]
        self._position = {id: position for position, id in enumerate(stack)}
        self._unseen = set(self._steps)

    def __contains__(self, id: str) -> bool:
        return id in self._steps

    @property
    def is_replayed(self) -> bool:
        """User code has asked for all that is known: what it does from here on is new."""
        return not self._unseen

    def add(self, id: str, data: Json) -> None:
        """Note what a step gave in this call."""
        self._position[id] = len(self._position)
        self._steps[id] = {"data": data}
        self._inputs.pop(id, None)

    def position(self, id: str) -> int:
        """Return the place of a known step in the order of completion; what isn't in the stack comes last."""
        return self._position.get(id, len(self._position))

    def see(self, id: str) -> None:
        """Note that user code has asked for this step."""
        self._unseen.discard(id)

    def result(self, id: str) -> Json:
        """Return what a known step gave, or raise its ``StepError``."""
        entry = self._steps[id]
        match _key(entry):
            case "data":
                return entry["data"]
            case "error":
                raise _step_error(entry["error"])
            case _:
                return entry

    def input(self, id: str) -> list[Json] | None:
        """Return the positional arguments that replace a step's own when it is run again, if there are any."""
        given = self._inputs.get(id, _NOTHING)
        if given is _NOTHING:
            return None
        return cast("list[Json]", given) if isinstance(given, list) else [given]


def _key(entry: Json) -> str | None:
    """Return the only key of a wrapper; None for a raw value."""
    if isinstance(entry, dict):
        keys = cast("dict[str, Any]", entry).keys()
        if len(keys) == 1:
            return next(iter(keys))
    return None


def _step_error(error: Json) -> StepError:
    fields = cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": str(error)}
    name = str(fields.get("name") or "Error")
    kind = InvokeTimeoutError if name == _INVOKE_TIMEOUT else StepError
    return kind(
        str(fields.get("message") or ""),
        name=name,
        traceback=str(fields.get("stack") or ""),
        data=fields.get("data"),
    )
