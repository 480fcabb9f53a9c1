"""Which calls the worker of each generation sends, in which order (generations 8.1, 8.2), by the names of `forms`."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ELIXIR", "GENERATIONS", "Generation"]


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation of workers.

    Attributes:
        name: What we call it.
        start_up: What it sends before its first poll, in order; those in `together` in one transaction.
        claim: How it claims.
        queue_as_written: Whether its row names the queue by the slug as written.
        stops_without_row: Whether it takes it for an order to stop when its row is gone.
        elixir: Whether it is the Elixir worker, which reads, beats and recovers in its own way.
    """

    name: str
    start_up: tuple[str, ...]
    claim: str
    queue_as_written: bool = False
    stops_without_row: bool = True
    elixir: bool = False


ELIXIR = Generation(
    "Elixir",
    ("Elixir compile", "Elixir flow type", "Elixir track", "Elixir worker row"),
    "Elixir claim",
    elixir=True,
)

GENERATIONS = (
    Generation(
        "TypeScript 0.14",
        ("TS 0.14 track", "TS 0.14, 0.15 compile", "TS worker row"),
        "TS 0.8-0.16 claim",
        queue_as_written=True,
        stops_without_row=False,
    ),
    Generation(
        "TypeScript 0.15 process",
        ("TS 0.15 process track", "TS 0.14, 0.15 compile", "TS worker row"),
        "TS 0.8-0.16 claim",
        queue_as_written=True,
        stops_without_row=False,
    ),
    Generation(
        "TypeScript 0.16",
        ("TS 0.16 compile", "TS 0.15 process track", "TS worker row"),
        "TS 0.8-0.16 claim",
        queue_as_written=True,
    ),
    Generation(
        "TypeScript 94490709",
        ("TS 0.16 compile", "TS 0.15 process track", "TS worker row"),
        "TS 94490709 claim",
    ),
    Generation(
        "TypeScript 0.17.0",
        ("TS 0.17 compile", "TS 0.15 process track", "TS worker row"),
        "TS 0.17 claim",
    ),
    Generation(
        "TypeScript 0.17.1",
        ("TS 0.17 compile", "TS 0.15 process track", "TS 0.17.1 worker row"),
        "TS 0.17 claim",
    ),
    ELIXIR,
)
