"""The handler's logger: it knows the run, and says nothing while known code is replayed."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from stepwell.sdk.assignment import Assignment
from stepwell.sdk.current import RUNNING
from stepwell.sdk.memo import Memo


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds ``run_id``, ``function_id``, ``attempt`` and ``step`` to each record.

    Code between steps runs again at each call. Until it has come past all that is known already, it has logged the same
    before, and its records are dropped. In a step nothing is.
    """

    def __init__(self, logger: logging.Logger, assignment: Assignment, memo: Memo) -> None:
        super().__init__(logger, {})
        self._fields = {
            "run_id": assignment.run_id,
            "function_id": assignment.function_id,
            "attempt": assignment.attempt,
        }
        self._memo = memo
        self._is_targeted = assignment.target is not None

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        """Tell whether a record of this level would be written now."""
        is_new = RUNNING.get() is not None or (self._memo.is_replayed and not self._is_targeted)
        return is_new and self.logger.isEnabledFor(level)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the fields to a record's ``extra``."""
        step = RUNNING.get()
        name = step.name if step is not None else None
        kwargs["extra"] = {**self._fields, "step": name, **(kwargs.get("extra") or {})}
        return msg, kwargs
