from __future__ import annotations

from tests.engine.pooler import PGBOUNCER

# `ci/pgbouncer` makes sure that there is one.
collect_ignore = [] if PGBOUNCER else ["test_pgbouncer.py"]
