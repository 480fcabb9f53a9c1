"""Random flows, values and patterns, chosen so that conditions hold about as often as not.

Durations are 0 or hundreds of seconds apart, so that no real delay can be taken for another one.
"""

from __future__ import annotations

from hypothesis import strategies as st

from .database import FLOWS, SLUGS, STEP_FLOW
from .definition import Flow, Json, Step
from .values import ELEMENTS, OBJECTS, SCALARS

ARRAYS = st.lists(st.sampled_from(ELEMENTS), max_size=4)
NO_ARRAYS = st.sampled_from([*OBJECTS, *SCALARS])
VALUES = NO_ARRAYS | ARRAYS
SQL_NULL = st.none()

OUTPUTS = st.builds(Json, VALUES) | SQL_NULL
ARRAY_OUTPUTS = st.builds(Json, ARRAYS)

PATTERNS = st.sampled_from([{}, {"k": 1}, {"k": 2}, {"k": {}}, {"k": []}, {"k": [1]}, {"k": {"m": 1}}])
PARENT_PATTERNS = PATTERNS | st.sampled_from([[], [1], [{}], [{"k": 1}], None, 1, True, "k"])

MODES = st.sampled_from(["skip", "skip-cascade", "fail"])
UNMET_MODES = st.sampled_from(["skip", "skip", "skip-cascade", "skip-cascade", "fail"])


@st.composite
def conditions(draw, parents: tuple[str, ...]) -> Json | None:
    if not parents or draw(st.integers(0, 9)) == 0:
        return Json(draw(PATTERNS))
    chosen = draw(st.lists(st.sampled_from(parents), min_size=1, max_size=2, unique=True))
    return Json({parent: draw(PARENT_PATTERNS) for parent in chosen})


@st.composite
def steps(draw, slug: str, earlier: list[str]) -> Step:
    kind = draw(st.sampled_from(["single", "single", "map"]))
    most = min(len(earlier), 1 if kind == "map" else 3)
    least = min(len(earlier), draw(st.sampled_from([1, 1, 0])))
    parents = draw(st.lists(st.sampled_from(earlier), min_size=least, max_size=most, unique=True)) if earlier else []
    parents = tuple(parents)
    conditional = draw(st.sampled_from([(), (), (), (), ("when",), ("unless",), ("when", "unless")]))
    return Step(
        slug,
        kind,
        parents,
        when=draw(conditions(parents)) if "when" in conditional else None,
        unless=draw(conditions(parents)) if "unless" in conditional else None,
        when_unmet=draw(UNMET_MODES) if conditional else "skip",
        when_exhausted=draw(MODES),
        max_attempts=draw(st.sampled_from([None, 1, 2, 0])),
        base_delay=draw(st.sampled_from([None, None, 0, 100, 50_000])),
        timeout=draw(st.sampled_from([None, None, 300])),
        start_delay=draw(st.sampled_from([None, None, None, 0, 300])),
    )


@st.composite
def flows(draw, slug: str) -> Flow:
    slugs = draw(st.permutations(SLUGS))[: draw(st.integers(1, len(SLUGS)))]
    made: list[Step] = []
    for each in slugs:
        made.append(draw(steps(each, [step.slug for step in made])))
    return Flow(
        slug,
        tuple(made),
        max_attempts=draw(st.sampled_from([2, 3, 1])),
        base_delay=draw(st.sampled_from([0, 100])),
        timeout=draw(st.sampled_from([100, 300])),
        step_queues=slug == STEP_FLOW,
    )


def flow_sets() -> st.SearchStrategy[list[Flow]]:
    """One or two flows of different kinds."""
    slugs = st.lists(st.sampled_from([*FLOWS, STEP_FLOW]), min_size=1, max_size=2, unique=True)
    return slugs.flatmap(lambda chosen: st.tuples(*[flows(slug) for slug in chosen]).map(list))


def inputs(flow: Flow) -> st.SearchStrategy[Json]:
    """What the flow can take (4.2.8)."""
    return st.builds(Json, ARRAYS if flow.has_root_map else VALUES)
