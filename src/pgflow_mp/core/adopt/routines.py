"""Functions: those of a fresh install in the place of those that are there.

``create or replace`` keeps a function's owner, its grants and what depends on it, so it is taken wherever Postgres
lets it: the names of the parameters, their defaults and the result are the same. Otherwise the function is dropped
first, and the new one of that name gets its grants: whoever could call it still can, and nobody else (D-11).
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from pgflow_mp.core.adopt.known import FUNCTIONS
from pgflow_mp.core.adopt.plan import Change
from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgflow_mp.core.adopt.catalog import Function
    from pgflow_mp.core.adopt.situation import Situation

__all__ = ["dropped", "gone", "made"]

_MAKES = re.compile(r"^create or replace function ([a-z_0-9]+\.[a-z_0-9]+)\s*\(", re.MULTILINE)


def dropped(now: Situation) -> list[Function]:
    """The functions that are dropped: obsolete ones, and those that cannot be replaced in place."""
    return [there for there in now.there.functions.values() if _goes(there, now)]


def _goes(there: Function, now: Situation) -> bool:
    wanted = now.wanted.functions.get(there.signature)
    if wanted is None:
        return there.signature in FUNCTIONS or there.signature in (now.installed or ())
    return (there.arguments, there.result) != (wanted.arguments, wanted.result)


def gone(now: Situation) -> Iterator[Change]:
    """Drop what cannot be replaced."""
    ours = []
    for function in dropped(now):
        drop = f"drop function {function.signature}"
        if function.schema == "pgflow_mp":
            ours.append(f"{drop} cascade")
        elif function.signature in now.wanted.functions:
            yield Change("functions", f"drop {function.signature}, to be made anew with another heading", (drop,))
        else:
            yield Change("functions", f"drop {function.signature}, an old form that would be ambiguous", (drop,))
    if ours:
        what = counted(len(ours), "function", "functions")
        yield Change("functions", f"drop {what} in schema pgflow_mp that served the schema as it was", tuple(ours))


def made(now: Situation) -> Iterator[Change]:
    """Create or replace every function, file by file; ours beside the contract's in one change."""
    grants = _grants(now)
    ours: list[str] = []
    for script in now.blueprint.functions:
        names = dict.fromkeys(_MAKES.findall(script.sql))
        statements = (script.sql, *(grant for name in names for grant in grants.get(name, ())))
        if all(name.startswith("pgflow_mp.") for name in names):
            ours += statements
            continue
        there = {function.path for function in now.there.functions.values()}
        for verb, which in (("replace", [*there & names.keys()]), ("create", [*names.keys() - there])):
            if which:
                yield Change("functions", f"{verb} {', '.join(sorted(which))}", statements)
                statements = ()
    number = sum(function.schema == "pgflow_mp" for function in now.wanted.functions.values())
    yield Change("functions", f"create the {counted(number, 'function', 'functions')} of schema pgflow_mp", tuple(ours))


def _grants(now: Situation) -> dict[str, list[str]]:
    """What gives new functions the grants of those of the same name that are there, by name."""
    there: dict[str, set[str]] = defaultdict(set)
    for function in now.there.functions.values():
        if function.grantees is not None:
            there[function.path] |= set(function.grantees.split(", "))
    kept = {signature for signature, function in now.there.functions.items() if not _goes(function, now)}
    grants: dict[str, list[str]] = defaultdict(list)
    for signature, wanted in now.wanted.functions.items():
        if signature not in kept and wanted.path in there:
            grants[wanted.path] += [
                f"revoke all on function {signature} from public",
                f"grant execute on function {signature} to {', '.join(sorted(there[wanted.path]))}",
            ]
    return grants
