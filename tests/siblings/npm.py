"""Running programs of tests/siblings/js under Node or Deno, with packages that lie in the folder of PGFLOW_TEST_NPM.

The packages are installed by `ci/npm` at the versions that it names; none is part of this repository. Without the
variable the tests are skipped, with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import conninfo

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NPM_VARIABLE", "connect", "packages", "program", "run", "version_of"]

NPM_VARIABLE = "PGFLOW_TEST_NPM"
PROGRAMS = Path(__file__).parent / "js"
SECONDS = 60


def packages() -> Path:
    """Return the folder with the packages; skip the test when there is none."""
    folder = os.environ.get(NPM_VARIABLE)
    if not folder:
        pytest.skip(f"{NPM_VARIABLE} names no folder with packages from npm: see ci/npm")
    found = Path(folder) / "node_modules"
    assert found.is_dir(), f"{NPM_VARIABLE}={folder} has no node_modules"
    return found


def version_of(package: str) -> str:
    """The version of a package that is there."""
    return str(json.loads((packages() / package / "package.json").read_text())["version"])


def program(folder: Path, name: str, *, runtime: str = "node") -> Sequence[str]:
    """Put our programs into `folder`, beside the packages, and return the command that runs one of them."""
    place = folder / "programs"
    if not place.exists():
        shutil.copytree(PROGRAMS, place)
        (place / "node_modules").symlink_to(packages())
        (place / "package.json").write_text('{"type": "module"}')
    if runtime == "node":
        return ["node", str(place / name)]
    deno = packages() / ".bin" / "deno"
    return [str(deno), "run", "--quiet", "--allow-all", "--no-lock", "--node-modules-dir=manual", str(place / name)]


def run(folder: Path, name: str, given: Any, *, runtime: str = "node") -> Any:
    """Run a program with one JSON value; return the one that it tells."""
    done = subprocess.run(
        program(folder, name, runtime=runtime),
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=os.environ | {"DENO_DIR": str(folder / "deno"), "NO_COLOR": "1"},
        check=False,
    )
    assert done.returncode == 0, f"{name} under {runtime} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout)


def connect(dsn: str) -> dict[str, Any]:
    """A DSN as the options that the `postgres` driver takes; a host may be a folder with a socket."""
    parts = conninfo.conninfo_to_dict(dsn)
    names = {"host": "host", "port": "port", "dbname": "database", "user": "username", "password": "password"}
    found = {name: parts[key] for key, name in names.items() if parts.get(key) is not None}
    return found | {"port": int(found.get("port", 5432))}
