"""A picture as Mermaid text, which Markdown renderers draw.

Nodes are numbered, since some words (``end``) mean something else to Mermaid; names are their labels, in quotes, with
the characters that mean something there as entities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pgflow_mp.cli.text import safe

if TYPE_CHECKING:
    from pgflow_mp.cli.drawing.picture import Node, Picture

_CLASSES: Final = {
    "completed": "fill:#dafbe1,stroke:#1a7f37,color:#1f2328",
    "started": "fill:#ddf4ff,stroke:#0969da,color:#1f2328",
    "failed": "fill:#ffebe9,stroke:#cf222e,color:#1f2328",
    "skipped": "fill:#fff8c5,stroke:#9a6700,color:#1f2328",
    "created": "fill:#f6f8fa,stroke:#d1d9e0,color:#1f2328",
}
_CONDITIONAL: Final = "stroke-dasharray:5 3"
_ENTITIES: Final = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\n": " "})


def render(picture: Picture) -> str:
    """Write the picture as Mermaid text."""
    ids = {node.slug: f"n{number}" for number, node in enumerate(picture.nodes)}
    lines = ["flowchart LR"]
    lines += [f"    {ids[node.slug]}{_shape(node)}" for node in picture.nodes]
    lines += [f"    {ids[parent]} --> {ids[child]}" for parent, child in picture.edges]
    for status, style in _CLASSES.items():
        lines += _class(status, style, [ids[node.slug] for node in picture.nodes if node.status == status])
    lines += _class("conditional", _CONDITIONAL, [ids[node.slug] for node in picture.nodes if node.is_conditional])
    return "\n".join(lines) + "\n"


def _shape(node: Node) -> str:
    label = _escaped(node.slug) + (f"<br/>{_escaped(node.note)}" if node.note else "")
    return f'[["{label}"]]' if node.is_map else f'["{label}"]'


def _class(name: str, style: str, members: list[str]) -> list[str]:
    return [f"    classDef {name} {style}", f"    class {','.join(members)} {name}"] if members else []


def _escaped(text: str) -> str:
    return safe(text).translate(_ENTITIES)
