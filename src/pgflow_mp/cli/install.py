"""``pgflow-mp install``: make a database ready, and say what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgflow_mp.cli.database import named
from pgflow_mp.cli.exits import OK
from pgflow_mp.cli.output import print_json, print_line
from pgflow_mp.core.install import install

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Install, and print one line for each thing done."""
    with named(arguments) as dsn:
        lines = install(dsn, worker_roles=arguments.worker_role, client_roles=arguments.client_role)
    if arguments.json:
        print_json({"done": lines})
    else:
        for line in lines:
            print_line(line)
    return OK
