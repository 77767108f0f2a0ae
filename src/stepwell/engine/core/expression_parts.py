"""Taking an expression's tree apart: the terms that must all hold, and the variables and fields that it reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from stepwell.engine.core.expression_tree import Call, Has, Macro, Name, Node, Select, children, walk

Path: TypeAlias = tuple[str, ...]
"""A variable, and the fields that are selected from it: ``("event", "data", "order")``."""

_NOW_FUNCTIONS: Final = frozenset(("now_plus", "now_minus"))


def conjuncts(tree: Node) -> Iterator[Node]:
    """Yield the terms of a conjunction in source order; a tree that is none is its only term.

    The whole is true just if each term is: a term that fails leaves ``&&`` false or failed, and both count as false.
    """
    match tree:
        case Call("_&&_", (left, right)):
            yield from conjuncts(left)
            yield from conjuncts(right)
        case _:
            yield tree


def path_of(node: Node) -> Path | None:
    """Return the path that a node is, or None where it is something else."""
    fields: list[str] = []
    while isinstance(node, Select):
        fields.append(node.field)
        node = node.operand
    return (node.name, *reversed(fields)) if isinstance(node, Name) else None


def paths(tree: Node) -> tuple[Path, ...]:
    """Return the longest paths that the tree reads, in source order, without those that lie inside another one."""
    return outermost(_paths(tree, frozenset()))


def outermost(found: Iterable[Path]) -> tuple[Path, ...]:
    """Drop repeated paths, and those of which a shorter one is there as well."""
    distinct = dict.fromkeys(found)
    return tuple(path for path in distinct if not any(path[:length] in distinct for length in range(len(path))))


def reads_now(tree: Node) -> bool:
    """Tell whether the value depends on the time."""
    return any(isinstance(node, Call) and node.function in _NOW_FUNCTIONS for node in walk(tree))


def _paths(node: Node, bound: frozenset[str]) -> Iterator[Path]:
    """Yield the paths below a node; ``bound`` are the variables of the macros around it."""
    match node:
        case Name() | Select() if (path := path_of(node)) is not None:
            if path[0] not in bound:
                yield path
        case Has(operand, field, at):
            yield from _paths(Select(operand, field, at), bound)
        case Macro(_, variable, items, condition, transform):
            yield from _paths(items, bound)
            for part in (condition, transform):
                if part is not None:
                    yield from _paths(part, bound | {variable})
        case _:
            for child in children(node):
                yield from _paths(child, bound)
