"""PgFlow and AsyncPgFlow: what application code calls, blocking and awaited, with the same names.

There is one source: the awaited face, folder `aio`. The blocking one, folder `blocking`, is generated from it by
`python ci/faces.py`: the same text without `async` and `await` and with psycopg's blocking classes (psycopg itself is
made that way). So both have their full signatures and docstrings, type checkers see plain classes, and a blocking
call pays for no event loop. A test generates the folder again and compares.

How an operation is added:

1. its SQL as a `Statement` in `core/queries`, which serves both faces;
2. an `async def` method in the module of `aio` where it belongs (`runs`, `control`, `definitions`, ...; a new subject
   is a new module with a class derived from `AsyncFace`, named in `aio/app.py`), which checks its arguments with
   `arguments`, takes `conn=` when it writes, and calls
   `self._connections.run(statement, conn, doing="starting flow `x`")`;
3. `python ci/faces.py`, and tests in `tests/client`: the behaviour once, with the face that shows it best.

Words that differ between the faces are listed in `ci/faces.py`; a line that ends in `# awaited only` has no
counterpart. What needs no connection at all (text, ids, cursors) lies beside the folders and is shared.
"""

from __future__ import annotations

from pgflow_mp.client.aio.app import AsyncPgFlow
from pgflow_mp.client.blocking.app import PgFlow
from pgflow_mp.client.health import HealthReport
from pgflow_mp.client.pages import RunPage

__all__ = ["AsyncPgFlow", "HealthReport", "PgFlow", "RunPage"]
