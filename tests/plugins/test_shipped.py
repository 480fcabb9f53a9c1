"""What holds for every plugin that comes along: it is a model of how to write one."""

from __future__ import annotations

import pytest

from tests.docs.documents import ROOT

MOST_LINES = 149
"""Issue 6: each is under 150 lines, to be read in one sitting."""

SHIPPED = [
    *(file for file in sorted((ROOT / "src/pgflow_mp/plugins").glob("*.py")) if file.name != "__init__.py"),
    ROOT / "examples/sentry_errors.py",
    ROOT / "examples/webhook/pgflow_webhook.py",
]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_a_plugin_is_short_and_uses_nothing_of_ours_but_the_hooks(file):
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_LINES
    ours = [
        line.split()[1] for line in map(str.strip, lines) if line.startswith(("from pgflow_mp", "import pgflow_mp"))
    ]
    assert ours
    assert set(ours) <= {"pgflow_mp", "pgflow_mp.hooks"}  # the package itself: its version


def test_every_plugin_is_on_the_page():
    page = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    missing = [file for file in SHIPPED if file.stem not in page and file.parent.name not in page]
    assert not missing
