"""A pgbouncer in transaction mode before a server, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator

PGBOUNCER = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))

_CONFIG = """
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = 4
user = {user}
"""


@contextmanager
def pgbouncer(dsn: str) -> Iterator[str]:
    """Have a pooler while the block lasts; yield the DSN that leads through it."""
    target = conninfo_to_dict(dsn)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root it changes to the account that may use the server's socket
        (folder / "users").write_text(f'"{target["user"]}" ""\n')
        user = pwd.getpwuid(Path(str(target["host"])).stat().st_uid).pw_name
        (folder / "ini").write_text(
            _CONFIG.format(
                host=target["host"], port=target.get("port", 5432), listen_port=port, folder=folder, user=user
            )
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([str(PGBOUNCER), str(folder / "ini")], stdout=log, stderr=log)
        try:
            _wait(port, process, folder / "log")
            yield make_conninfo(dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        finally:
            process.terminate()
            process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        else:
            return
