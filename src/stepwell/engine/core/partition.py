"""Partitions: queues of jobs that stand and fall together, because the same limits hold for all of them.

A partition's text is the function's id, and a token for each rule of flow control that applies, with a hash of the
value that the rule's key had for the run's event::

    <function id>|c.<rule>.<value>|r.<rule>.<value>|s.<rule>.<value>|t.<rule>.<value>|h

``c`` concurrency of calls, ``r`` concurrency of runs, ``s`` a singleton, ``t`` throttle, ``h`` held. The
first job of a run is in the partition with all tokens, later calls in the one with those of kind ``c`` alone. Limits
are no part of it: they are looked up when jobs are claimed, by the rule's id, in the function's newest configuration.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from stepwell.limits import PARTITIONS_CACHED
from stepwell.protocol.ids import EnvironmentId, FunctionId

TIMERS: Final = "timers"
"""The partition of jobs for which nothing is called: timers, waits, guards. It has no limits."""
FETCHES: Final = "fetches"
"""The partition of requests that the server makes itself. It has no limits."""

_RULE_CHARS: Final = 8
_VALUE_CHARS: Final = 16


class TokenKind(StrEnum):
    """What a token's rule limits, in the order in which tokens stand."""

    STEPS = "c"  # calls in progress
    RUNS = "r"  # runs between their first call and their end
    SINGLETON = "s"  # likewise, one
    THROTTLE = "t"  # starts in time
    HELD = "h"  # the function is paused: nothing starts


_ORDER: Final = {kind: place for place, kind in enumerate(TokenKind)}


class Scope(StrEnum):
    """Who shares the count of a concurrency rule."""

    FN = "fn"
    ENV = "env"
    ACCOUNT = "account"


class Token(NamedTuple):
    """A rule, and the value of its key. ``value_hash`` is empty where the rule has no key."""

    kind: TokenKind
    rule_id: str = ""
    value_hash: str = ""

    @property
    def text(self) -> str:
        return self.kind if self.kind is TokenKind.HELD else f"{self.kind}.{self.rule_id}.{self.value_hash}"


HELD: Final = Token(TokenKind.HELD)


class Partition(NamedTuple):
    """A partition's text, taken apart."""

    function_id: FunctionId
    tokens: tuple[Token, ...] = ()


def rule_id(kind: str, scope: Scope, key: str) -> str:
    """Name a rule by what it counts: functions that share a scope and a key's text share the rule."""
    return hashlib.sha1(f"{kind}\0{scope}\0{key}".encode(), usedforsecurity=False).hexdigest()[:_RULE_CHARS]


def value_hash(text: str) -> str:
    """Hash the text of a key's value. Values may be of any length."""
    return hashlib.sha1(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:_VALUE_CHARS]


def partition_text(function_id: FunctionId, tokens: Iterable[Token]) -> str:
    """Write a partition. The order of the tokens given is of no account."""
    ordered = sorted(set(tokens), key=lambda token: (_ORDER[token.kind], token))
    return "|".join((function_id, *(token.text for token in ordered)))


@functools.lru_cache(PARTITIONS_CACHED)
def parse(partition: str) -> Partition:
    """Take a partition's text apart. ``TIMERS`` and ``FETCHES`` are their own function ids, without tokens."""
    function_id, *tokens = partition.split("|")
    return Partition(FunctionId(function_id), tuple(_token(text) for text in tokens))


@functools.lru_cache(PARTITIONS_CACHED)
def later(partition: str) -> str:
    """Return the partition of a run's later calls, given that of its first."""
    function_id, tokens = parse(partition)
    return partition_text(function_id, (token for token in tokens if token.kind is TokenKind.STEPS))


def slot_key(token: Token, function_id: FunctionId, environment: EnvironmentId, scope: Scope) -> str:
    """Name what is counted for a token: runs or calls of one function, or of all that share the rule."""
    match scope:
        case Scope.FN:
            return f"{function_id}/{token.text}"
        case Scope.ENV:
            return f"{environment}/{token.text}"
        case Scope.ACCOUNT:
            return f"account/{token.text}"


def _token(text: str) -> Token:
    kind, *parts = text.split(".")
    return Token(TokenKind(kind), *parts)
