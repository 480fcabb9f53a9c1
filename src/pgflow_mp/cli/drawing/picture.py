"""What is drawn of a flow: a node a step, an edge a dependency; of a run, each step with its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgflow_mp.cli.progress import duration

if TYPE_CHECKING:
    from pgflow_mp.core.queries.definitions import StoredFlow
    from pgflow_mp.core.queries.progress import RunProgress, StepProgress
    from pgflow_mp.definition import FlowDefinition


@dataclass(frozen=True, slots=True)
class Node:
    """A step.

    Attributes:
        slug: Its name.
        is_map: Whether it has one task for each element.
        is_conditional: Whether it may be skipped by a condition.
        status: Its state in a run; None in a picture of the flow itself.
        note: A few words below the name.
    """

    slug: str
    is_map: bool = False
    is_conditional: bool = False
    status: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A flow or a run of it.

    Attributes:
        title: For those who do not see it.
        nodes: The steps; parents come before their children.
        edges: From a parent to its child, by slug.
    """

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]


def of_flow(flow: StoredFlow | FlowDefinition) -> Picture:
    """The picture of a flow, as it is stored or as it is in code."""
    nodes = tuple(
        Node(
            step.slug,
            is_map=step.step_type == "map",
            is_conditional=step.when is not None or step.unless is not None,
            note="map" if step.step_type == "map" else "",
        )
        for step in flow.steps
    )
    return Picture(f"flow {flow.slug}", nodes, tuple((dep, step.slug) for step in flow.steps for dep in step.deps))


def of_run(flow: StoredFlow, progress: RunProgress, run_id: str) -> Picture:
    """The picture of a run: the flow, each step with its state, time and count."""
    states = {step.slug: step for step in progress.steps}
    plain = of_flow(flow)
    nodes = tuple(
        Node(node.slug, node.is_map, node.is_conditional, states[node.slug].status, _note(states[node.slug]))
        if node.slug in states
        else node
        for node in plain.nodes
    )
    return Picture(f"run {run_id} of flow {flow.slug}, {progress.status}", nodes, plain.edges)


def _note(step: StepProgress) -> str:
    said = [step.status]
    if step.is_map and step.tasks is not None:
        said.append(f"{step.done:,}/{step.tasks:,}")
    if step.seconds is not None and step.status != "skipped":
        said.append(duration(step.seconds))
    return ", ".join(said)
