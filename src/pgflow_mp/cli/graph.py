"""``pgflow-mp graph``: a flow, or a run of it, as Mermaid text or as an SVG picture."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pgflow_mp.cli import naming
from pgflow_mp.cli.database import session
from pgflow_mp.cli.drawing import mermaid, svg
from pgflow_mp.cli.drawing.picture import of_flow, of_run
from pgflow_mp.cli.exits import OK, UsageError
from pgflow_mp.cli.objects import as_json
from pgflow_mp.core.queries.progress import run_progress

if TYPE_CHECKING:
    import argparse

    from pgflow_mp.cli.drawing.picture import Picture

#: What tells a target from a slug, which has none of these.
_TARGET = re.compile(r"[.:/]")


def run(arguments: argparse.Namespace) -> int:
    """Draw, to stdout or to the file."""
    if (arguments.flow is None) == (arguments.run is None):
        raise UsageError("name a flow to draw, or a run with --run RUN_ID, and not both")
    text = _written(_picture(arguments), arguments)
    if arguments.output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text.encode())
        return OK
    try:
        Path(arguments.output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {arguments.output}: {error.strerror or error}") from None
    return OK


def _picture(arguments: argparse.Namespace) -> Picture:
    if arguments.run is not None:
        return _picture_of_run(arguments)
    if _TARGET.search(arguments.flow):
        from pgflow_mp.cli.loading import load_one

        return of_flow(load_one(arguments.flow).definition)
    with session(arguments) as db:
        return of_flow(naming.stored_flow(db, arguments.flow))


def _picture_of_run(arguments: argparse.Namespace) -> Picture:
    with session(arguments) as db:
        progress = db.ask(run_progress(naming.run_id(arguments.run)))
        if progress is None:
            raise naming.unknown_run(arguments.run)
        return of_run(naming.stored_flow(db, progress.flow_slug), progress, arguments.run)


def _written(picture: Picture, arguments: argparse.Namespace) -> str:
    if arguments.json:
        edges = [{"from": parent, "to": child} for parent, child in picture.edges]
        return json.dumps({**as_json(picture), "edges": edges}, indent=2, ensure_ascii=False) + "\n"
    named_svg = arguments.output is not None and arguments.output.lower().endswith(".svg")
    wanted = arguments.format or ("svg" if named_svg else "mermaid")
    return svg.render(picture) if wanted == "svg" else mermaid.render(picture)
