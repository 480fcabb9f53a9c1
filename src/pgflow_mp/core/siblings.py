"""Which workers of which generation can run on a core: by the calls that they send, and whether those resolve here.

A call resolves when exactly one function takes that many arguments, those with defaults left out, and the types fit.
What is needed for each worker is in generations 8.1, 8.2 and 7.2; what follows for the cores that their makers ship is
the table of generations 8.3, which a test holds. Derived from calls: no foreign worker is run to find out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.rules import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgflow_mp.core.generation import Core

__all__ = ["Sibling", "siblings"]

# What the Elixir worker looks at before it starts (generations 7.2.3), and calls later (8.2 note 4).
_RECORD_OF_ELIXIR = (
    *("flow_slug", "run_id", "step_slug", "input"),
    *("msg_id", "task_index", "flow_input", "attempts_count"),
)
_HELPERS_OF_ELIXIR = (
    "register_worker(uuid,text,text)",
    "recover_stalled_tasks(double precision)",
    "get_flow_input(uuid)",
    "get_step_output(uuid,text)",
    "flow_exists(text)",
)
_HELPER_VERSION = 5

_Need = tuple[str, "Callable[[Core], bool]"]


@dataclass(frozen=True, slots=True)
class Sibling:
    """The workers of some releases, and whether they run here.

    Attributes:
        workers: Whose, in words.
        obstacle: The first thing that stops them, to be said after "there is"; None when they run.
    """

    workers: str
    obstacle: str | None

    @property
    def runs(self) -> bool:
        """Whether they do."""
        return self.obstacle is None


def siblings(core: Core) -> tuple[Sibling, ...]:
    """Return the workers of other languages, oldest first, each with what stops it on this core."""
    return tuple(
        Sibling(workers, next((obstacle for obstacle, is_met in needs if not is_met(core)), None))
        for workers, needs in _WORKERS
    )


def _takes(name: str, given: int, third: str | None = None) -> Callable[[Core], bool]:
    """Whether a call with so many arguments finds one function; `third` is the type of the third where it is typed."""

    def is_met(core: Core) -> bool:
        return sum(1 for _ in _candidates(core, name, given, third)) == 1

    return is_met


def _candidates(core: Core, name: str, given: int, third: str | None) -> Iterator[str]:
    for call, defaults in core.calls.items():
        function, _, rest = call.removesuffix(")").partition("(")
        parameters = rest.split(",") if rest else []
        if function != name or not len(parameters) - defaults <= given <= len(parameters):
            continue
        if third is None or parameters[2] == third:
            yield call


def _has(*calls: str) -> Callable[[Core], bool]:
    return lambda core: all(call in core.calls for call in calls)


def _lacks(call: str) -> Callable[[Core], bool]:
    return lambda core: call not in core.calls


def _compiles(given: int) -> _Need:
    third = {3: "boolean", 4: "text"}.get(given)
    return f"no ensure_flow_compiled that takes {given} arguments", _takes("ensure_flow_compiled", given, third)


def _tracks(given: int) -> _Need:
    return f"no track_worker_function that takes {counted(given, 'argument')}", _takes("track_worker_function", given)


def _claims(given: int) -> _Need:
    return f"no start_tasks that takes {given} arguments", _takes("start_tasks", given)


_FLOW_INPUT: _Need = ("no flow input in what a claim returns", lambda core: "flow_input" in core.record)
_RUN_KEY: _Need = ("no key `run` in the inputs of steps", lambda core: "flow_input" not in core.record)
_VERSION: _Need = ("no column workers.pgflow_version", lambda core: core.has("workers", "pgflow_version"))
_HELPERS: _Need = ("none of the Elixir library's functions", _has(*_HELPERS_OF_ELIXIR))

_WORKERS: tuple[tuple[str, tuple[_Need, ...]], ...] = (
    ("TypeScript 0.8, 0.9", (_claims(3), _RUN_KEY)),
    ("TypeScript 0.14, 0.15 HTTP", (_tracks(1), _compiles(3), _claims(3), _FLOW_INPUT)),
    ("TypeScript 0.15 process", (_tracks(2), _compiles(3), _claims(3), _FLOW_INPUT)),
    ("TypeScript 0.16 HTTP", (_compiles(2), _tracks(1), _claims(3), _FLOW_INPUT)),
    ("TypeScript 0.16 process", (_compiles(2), _tracks(2), _claims(3), _FLOW_INPUT)),
    ("TypeScript 0.17.0", (_compiles(4), _tracks(1), _claims(5))),
    ("TypeScript 0.17.1", (_compiles(4), _tracks(1), _VERSION, _claims(5))),
    ("Elixir 0.3", (_tracks(1), _compiles(3), _HELPERS, _claims(3))),
    (
        "Elixir from 0.4",
        (
            ("no function that is exactly ensure_flow_compiled(text,jsonb)", _has("ensure_flow_compiled(text,jsonb)")),
            ("no function that is exactly track_worker_function(text,text)", _has("track_worker_function(text,text)")),
            (
                "no function that is exactly start_tasks(text,bigint[],uuid,text)",
                _has("start_tasks(text,bigint[],uuid,text)"),
            ),
            ("a start_tasks(text,bigint[],uuid)", _lacks("start_tasks(text,bigint[],uuid)")),
            ("a claim that returns other columns", lambda core: core.record == _RECORD_OF_ELIXIR),
            (
                f"no stamp extensions_version of {_HELPER_VERSION} or more",
                lambda core: (core.helper_version or 0) >= _HELPER_VERSION,
            ),
            _HELPERS,
        ),
    ),
)
