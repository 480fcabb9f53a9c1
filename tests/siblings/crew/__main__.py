"""`python -m tests.siblings.crew [--minutes N]`: a long muster; exit code 1 when the audit finds anything.

Where PGFLOW_TEST_NPM names a folder with packages (ci/npm), the real SQL client of 0.8.1 is one of the crew.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import psycopg

from pgflow_mp import postgres
from pgflow_mp.core.install import install
from tests.siblings.crew.deck import OURS, foreigners, node
from tests.siblings.crew.muster import muster
from tests.siblings.generations import GENERATIONS
from tests.siblings.npm import NPM_VARIABLE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.siblings.crew", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long members are killed; default: 3")
    parser.add_argument("--pause", type=float, default=1.5, help="seconds between two kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pgflow-crew-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)  # the server's account finds its data folder
        with postgres.start(data_dir=folder / "data") as server:
            with psycopg.connect(server.dsn, autocommit=True) as conn:
                install(conn)
            names = [generation.name for generation in GENERATIONS]
            members = [OURS, *foreigners(*names, "TypeScript 0.17.1/numbers", "TypeScript 0.17.1/each")]
            if os.environ.get(NPM_VARIABLE):
                members.append(node(folder, server.dsn))
            report = muster(
                server.dsn,
                members,
                options.minutes * 60,
                folder,
                pause=options.pause,
                wait=True,
                tell=lambda line: print(line, flush=True),
            )
    print(report, flush=True)
    if report.wrong:
        print(f"the end of the log:\n{report.log[-20_000:]}", file=sys.stderr)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
