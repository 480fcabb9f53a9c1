"""`python -m benchmarks core [--rounds N] [--jobs N] [--widest N] [--history N]`, or another of those below."""

from __future__ import annotations

import argparse

from benchmarks import beside, core, engine, hooks, plugin, tenants


def main() -> None:
    """Run one benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("which", choices=["beside", "core", "engine", "hooks", "plugin", "tenants"])
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the best of each is printed")
    parser.add_argument("--jobs", type=int, default=core.JOBS, help="core, beside: single-step jobs of one measurement")
    parser.add_argument("--widest", type=int, default=10_000, help="core: elements of the wide map")
    parser.add_argument(
        "--history", type=int, default=1_000_000, help="core: finished runs in the second part; 0: none"
    )
    parser.add_argument("--flows", default="1,100,1000", help="tenants: numbers of flows, one measurement each")
    options = parser.parse_args()
    if options.which == "engine":
        engine.main(options.rounds)
    elif options.which == "beside":
        beside.main(options.rounds, options.jobs)
    elif options.which == "tenants":
        tenants.main([int(number) for number in options.flows.split(",")])
    elif options.which == "hooks":
        hooks.main(options.rounds)
    elif options.which == "plugin":
        plugin.main(options.rounds)
    else:
        core.main(options.rounds, jobs=options.jobs, widest=options.widest, history=options.history)


if __name__ == "__main__":
    main()
