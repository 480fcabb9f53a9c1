"""The two faces have one source, and the same names and signatures."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from pathlib import Path

import pytest

from pgflow_mp import AsyncPgFlow, PgFlow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def faces():
    spec = importlib.util.spec_from_file_location("faces", ROOT / "ci" / "faces.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def operations(face):
    return {name: member for name, member in inspect.getmembers(face) if not name.startswith("_")}


def test_the_blocking_face_is_what_its_source_gives(faces, capsys):
    assert faces.main(["--check"]) == 0, capsys.readouterr().err


def test_a_face_that_was_changed_by_hand_is_seen(faces):
    there = faces.texts(faces.RESULT)
    changed = {**there, "face.py": there["face.py"] + "\nEXTRA = 1\n", "more.py": ""}
    del changed["runs.py"]
    assert faces.stale(there, changed) == ["face.py", "more.py", "runs.py"]


def test_what_differs_between_the_faces_is_replaced_word_by_word(faces):
    source = (
        "import asyncio\nONLY = 1  # awaited only\n"
        "async def run(conn: AsyncConn) -> AsyncPgFlow:\n"
        "    async with a, b:\n        return await execute_async(conn)\n"
    )
    assert faces.blocking(source).splitlines() == [
        "import threading",
        "def run(conn: Conn) -> PgFlow:",
        "    with a, b:",
        "        return execute(conn)",
    ]


def test_both_faces_have_the_same_operations_with_the_same_parameters():
    blocking, awaited = operations(PgFlow), operations(AsyncPgFlow)
    assert blocking.keys() == awaited.keys()
    for name, member in blocking.items():
        parameters = inspect.signature(member).parameters
        assert list(parameters) == list(inspect.signature(awaited[name]).parameters), name


@pytest.mark.parametrize("face", [PgFlow, AsyncPgFlow])
def test_every_operation_speaks_of_its_own_face(face):
    for name, member in operations(face).items():
        text = inspect.getdoc(member)
        assert text, f"{name} has no docstring"
        assert ("await" in text) <= (face is AsyncPgFlow), name


def test_the_blocking_face_waits_for_nothing_of_asyncio(faces):
    for path in faces.RESULT.glob("*.py"):
        tree = ast.parse(path.read_text())
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)], path.name
        assert not [name for name in names if "async" in name.lower()], path.name
