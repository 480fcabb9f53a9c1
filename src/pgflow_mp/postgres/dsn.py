"""A server that somebody else runs: reach it once, tell its version, never stop it."""

from __future__ import annotations

from pgflow_mp.postgres.server import Server


def from_dsn(dsn: str) -> Server:
    """Return a handle of the server at `dsn`; its `stop` does nothing.

    Raises:
        DatabaseUnreachable: Nothing answers there, or it refuses us; the text hides the password.
    """
    from pgflow_mp.connecting import connect

    with connect(dsn, purpose="look") as conn:
        told = conn.info.parameter_status("server_version") or str(conn.info.server_version)
    return Server(dsn=dsn, kind="dsn", version=told.split(" ", 1)[0])
