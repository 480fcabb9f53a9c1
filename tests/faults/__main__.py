"""`python -m tests.faults [--minutes N] [--seed S]`: a long storm; exit code 1 when the audit finds anything."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.core.foreign import NAMES
from tests.faults.storm import storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="how long faults are inflicted; default: 5")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="which faults come")
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two faults, on average")
    parser.add_argument("--core", choices=NAMES, help="beside the core of this generation; default: our own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pgflow-faults-") as scratch:
        report = storm(
            options.minutes * 60,
            Path(scratch),
            seed=options.seed,
            pause=options.pause,
            slow=options.minutes >= 2,
            core=options.core,
            tell=lambda line: print(line, flush=True),
        )
    print(report, flush=True)
    if report.wrong:
        print(f"the end of the workers' log:\n{report.log}", file=sys.stderr)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
