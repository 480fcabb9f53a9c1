"""Print pip constraints that pin every dependency to the oldest release that pyproject.toml allows."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

BOUND = re.compile(r"^(?P<name>[A-Za-z0-9_.-]+)(?:\[[^\]]*\])?>=(?P<version>[0-9.]+)$")
FEATURES_OF_THE_FIRST_COMMAND = ("embedded",)


def main() -> None:
    """Print one `name==version` line for each lower bound."""
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    requirements = list(project["dependencies"])
    for extra in FEATURES_OF_THE_FIRST_COMMAND:
        requirements += project["optional-dependencies"][extra]
    for requirement in requirements:
        bound = BOUND.match(requirement)
        if bound is None:
            raise SystemExit(f"pyproject.toml: {requirement!r} has no lower bound of the form name>=version")
        print(f"{bound['name']}=={bound['version']}")


if __name__ == "__main__":
    main()
