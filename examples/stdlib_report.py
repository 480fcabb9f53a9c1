"""Where is Python's standard library most complex? A report over its own source, one task a file.

    pgflow-mp run examples/stdlib_report.py                   # every module, on all cores
    pgflow-mp run examples/stdlib_report.py '{"limit": 50}'   # the first 50 only

`list_modules` finds the source files of the Python that runs this, `analyse` parses each one in its own
task (CPU-bound work that threads could not speed up), and `report` reduces the results. Between
steps travel only paths relative to the library's folder and small JSON objects.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pgflow_mp import Flow, NonRetryable, map_step, step

STDLIB = Path(sysconfig.get_path("stdlib"))
NOT_LIBRARY_CODE = {"test", "tests", "idle_test", "lib2to3", "site-packages", "dist-packages", "__pycache__"}

#: What makes the way through a function fork, as McCabe's cyclomatic complexity counts it.
DECISIONS = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.match_case,
)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SCOPES = (*FUNCTIONS, ast.ClassDef)


class StdlibReport(Flow, max_attempts=2, base_delay=1, timeout=60):
    """Size and complexity of every module of the standard library."""

    @step
    def list_modules(flow_input):
        """The source files, as paths relative to the library; `{"limit": n}` keeps the first n."""
        limit = flow_input.get("limit")
        if limit is not None and (not isinstance(limit, int) or limit < 1):
            raise NonRetryable(f'"limit" must be a whole number above 0, not {limit!r}')
        files = (path.relative_to(STDLIB) for path in STDLIB.rglob("*.py"))
        return sorted(str(file) for file in files if not NOT_LIBRARY_CODE & set(file.parts))[:limit]

    @map_step(over=list_modules)
    def analyse(item):
        """Parse one file and measure its functions."""
        source = (STDLIB / item).read_bytes()
        tree = ast.parse(source, item)
        functions = [measure(name, node) for name, node in functions_of(tree)]
        return {
            "module": item,
            "lines": source.count(b"\n"),
            "functions": len(functions),
            "classes": sum(isinstance(node, ast.ClassDef) for node in ast.walk(tree)),
            "decisions": decisions_in(tree),
            "longest": max(functions, key=lambda function: function["lines"], default=None),
            "most_complex": max(functions, key=lambda function: function["complexity"], default=None),
        }

    @step
    def report(analyse):
        """Reduce all results: totals, and the ten extremes of each kind."""
        return {
            "totals": {
                "modules": len(analyse),
                **{
                    key: sum(result[key] for result in analyse)
                    for key in ("lines", "functions", "classes", "decisions")
                },
            },
            "longest_functions": top_ten(extremes(analyse, "longest"), "lines"),
            "most_complex_functions": top_ten(extremes(analyse, "most_complex"), "complexity"),
            "most_branching_modules": [
                {"module": result["module"], "decisions": result["decisions"], "lines": result["lines"]}
                for result in top_ten(analyse, "decisions")
            ],
        }


def functions_of(scope: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every function below a node with its qualified name, in source order."""
    for node in ast.iter_child_nodes(scope):
        name = f"{prefix}{node.name}" if isinstance(node, SCOPES) else prefix
        if isinstance(node, FUNCTIONS):
            yield name, node
        yield from functions_of(node, f"{name}." if isinstance(node, SCOPES) else prefix)


def measure(name: str, function: Any) -> dict[str, Any]:
    """Length and complexity of one function; what is nested in it counts too."""
    return {
        "function": name,
        "line": function.lineno,
        "lines": function.end_lineno - function.lineno + 1,
        "complexity": 1 + decisions_in(function),
    }


def decisions_in(tree: ast.AST) -> int:
    """How many times the way through this code forks."""
    forks = sum(isinstance(node, DECISIONS) for node in ast.walk(tree))
    shortcuts = sum(len(node.values) - 1 for node in ast.walk(tree) if isinstance(node, ast.BoolOp))
    return forks + shortcuts


def extremes(results: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The one function that each module nominated, with the module's name."""
    return [{"module": result["module"], **result[kind]} for result in results if result[kind]]


def top_ten(rows: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The ten rows with the largest value."""
    return sorted(rows, key=lambda row: row[key], reverse=True)[:10]
