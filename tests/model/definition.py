"""What a flow is to the reference model: steps with their options, in definition order."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uuid


@dataclass(frozen=True, repr=False)
class Json:
    """A JSON value in a column; None stands for SQL NULL, Json(None) for JSON null (D-8)."""

    value: object

    def __repr__(self) -> str:
        return f"Json({self.value!r})"


class _Short:
    """Shows only what is not the default."""

    def __repr__(self) -> str:
        said = [(field, getattr(self, field.name)) for field in fields(self)]
        inner = ", ".join(f"{field.name}={value!r}" for field, value in said if value != field.default)
        return f"{type(self).__name__}({inner})"


@dataclass(frozen=True, repr=False)
class Step(_Short):
    """One step; None in an option means: as the flow says, or none."""

    slug: str
    kind: str = "single"
    deps: tuple[str, ...] = ()
    when: Json | None = None
    unless: Json | None = None
    when_unmet: str = "skip"
    when_exhausted: str = "fail"
    max_attempts: int | None = None
    base_delay: int | None = None
    timeout: int | None = None
    start_delay: int | None = None

    @property
    def is_map(self) -> bool:
        return self.kind == "map"


@dataclass(frozen=True, repr=False)
class Flow(_Short):
    """One flow; with step_queues each step has a queue of its own (generations 5)."""

    slug: str
    steps: tuple[Step, ...]
    max_attempts: int = 3
    base_delay: int = 0
    timeout: int = 100
    step_queues: bool = False

    @cached_property
    def by_slug(self) -> dict[str, Step]:
        return {step.slug: step for step in self.steps}

    def step(self, slug: str) -> Step:
        return self.by_slug[slug]

    def children(self, slug: str) -> list[Step]:
        return [step for step in self.steps if slug in step.deps]

    def descendants(self, slug: str) -> list[Step]:
        """All that depend on a step, however far, in definition order."""
        reached = {slug}
        for step in self.steps:
            if reached & set(step.deps):
                reached.add(step.slug)
        return [step for step in self.steps if step.slug in reached - {slug}]

    @property
    def leaves(self) -> list[Step]:
        return [step for step in self.steps if not self.children(step.slug)]

    @property
    def has_root_map(self) -> bool:
        return any(step.is_map and not step.deps for step in self.steps)

    @property
    def may_fail_by_condition(self) -> bool:
        return any(step.when_unmet == "fail" and (step.when or step.unless) for step in self.steps)

    def queue(self, slug: str) -> str:
        """The queue of a step (QI-1, QN-1)."""
        return f"{self.slug}__{slug}".lower() if self.step_queues else self.slug.lower()

    @property
    def queues(self) -> list[str]:
        return sorted({self.queue(step.slug) for step in self.steps})

    def option(self, slug: str, name: str) -> int:
        """The step's option, else the flow's."""
        own = getattr(self.step(slug), name)
        return getattr(self, name) if own is None else own


@dataclass(frozen=True)
class Ticket:
    """One attempt of one task, as a claim named it; None names whichever attempt runs."""

    run: uuid.UUID
    key: tuple[str, int]
    attempt: int | None
    worker: uuid.UUID | None
