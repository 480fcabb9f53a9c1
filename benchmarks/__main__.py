"""`python -m benchmarks core|engine [--rounds N]`."""

from __future__ import annotations

import argparse

from benchmarks import core, engine


def main() -> None:
    """Run one benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("which", choices=["core", "engine"])
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the best of each is printed")
    options = parser.parse_args()
    {"core": core.main, "engine": engine.main}[options.which](options.rounds)


if __name__ == "__main__":
    main()
