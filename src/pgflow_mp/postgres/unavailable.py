"""Why one kind of server could not be had; `start` collects these into one error."""

from __future__ import annotations


class Unavailable(Exception):  # noqa: N818 - it is a finding, turned into ServerUnavailable by `start`
    """One kind of server cannot be had here; the text says why and what would help."""
