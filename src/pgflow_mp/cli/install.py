"""``pgflow-mp install``: make a database ready, and say what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.database import required_dsn
from pgflow_mp.cli.exits import OK
from pgflow_mp.core.install import install

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Install, and print one line for each thing done."""
    lines = install(
        required_dsn(arguments.dsn, "install"),
        worker_roles=arguments.worker_role,
        client_roles=arguments.client_role,
    )
    for line in lines:
        print(line)
    return OK
