"""The documents are true: what they show is executed, what they name exists."""

from __future__ import annotations

import ast
import re
import signal
import subprocess
import sys
import tomllib

import psycopg
import pytest

from pgflow_mp.cli import exits, parser
from tests.cli.command import begin, environment
from tests.docs.documents import DOCUMENTS, ROOT, blocks, write_files

README = ROOT / "README.md"
named = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def run(arguments: list[str], cwd, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=cwd, env=environment(variables), capture_output=True, text=True, timeout=120, check=False
    )


def compile_flows(folder, dsn: str, *files: str) -> None:
    done = run([sys.executable, "-m", "pgflow_mp", "compile", *files], folder, PGFLOW_DSN=dsn)
    assert done.returncode == 0, done.stderr


@named
def test_python_in_documents_is_python(document):
    for block in blocks(document, "python"):
        try:
            ast.parse(block.text)
        except SyntaxError as error:
            pytest.fail(f"{block.place}: {error}")


@named
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (document.parent / target).exists(), f"{document.name} links to {target}"


@named
def test_documents_name_no_place_of_the_writers_machine(document):
    assert not re.search(r"(?<![\w.])/(work|tmp|root|home)/", document.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["README.md", "docs/flows.md", "docs/jobs.md"])
def test_shown_runs_give_the_shown_output(name, tmp_path, pgflow_dsn):
    write_files(ROOT / name, tmp_path)
    ran = 0
    for block in blocks(ROOT / name, "console"):
        for arguments, output in block.commands:
            if arguments[3:4] == ["run"]:
                done = run(arguments, tmp_path, PGFLOW_DSN=pgflow_dsn)
                assert done.returncode == 0, f"{block.place}: {done.stderr}"
                assert done.stdout == output or not output, block.place
                ran += 1
    assert ran


def test_definitions_in_flows_md_are_valid_and_its_program_runs(tmp_path, pgflow_dsn):
    printed = ""
    for block in blocks(ROOT / "docs/flows.md", "python"):
        done = run([sys.executable, "-c", block.text], tmp_path, PGFLOW_DSN=pgflow_dsn)
        assert done.returncode == 0, f"{block.place}: {done.stderr}"
        printed += done.stdout
    assert printed == "compiled {'tell': ['fetch']}\n"


def test_the_tour_of_the_readme_from_install_to_a_served_run(tmp_path, empty_dsn):
    write_files(README, tmp_path)
    shown = [command for block in blocks(README, "console") for command, _ in block.commands]
    steps = {arguments[3]: arguments[3:] for arguments in shown if "pgflow_mp" in arguments}
    for name in ("install", "compile"):
        done = run([sys.executable, "-m", "pgflow_mp", *steps[name]], tmp_path, PGFLOW_DSN=empty_dsn)
        assert done.returncode == 0, done.stderr
    worker = begin(*steps["serve"], cwd=tmp_path, env={"PGFLOW_DSN": empty_dsn})
    try:
        (client,) = [block for block in blocks(README, "python") if "PgFlow(" in block.text]
        done = run([sys.executable, "-c", client.text], tmp_path, PGFLOW_DSN=empty_dsn)
        assert done.returncode == 0, done.stderr
        assert "'invoice': 'invoice over 0.00 EUR'" in done.stdout
        worker.send_signal(signal.SIGTERM)
        _, log = worker.communicate(timeout=30)
        assert worker.returncode == 0, log
    finally:
        worker.kill()
        worker.communicate()


@pytest.mark.parametrize("name", ["README.md", "docs/hooks.md", "docs/testing.md"])
def test_shown_tests_pass(name, tmp_path, server_dsn):
    files = write_files(ROOT / name, tmp_path)
    tests = [str(file) for file in files if file.name.startswith("test_")]
    assert tests
    arguments = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = run(arguments, tmp_path, PGFLOW_TEST_DSN=server_dsn)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_programs_of_jobs_md_run(tmp_path, pgflow_dsn):
    write_files(ROOT / "docs/jobs.md", tmp_path)
    compile_flows(tmp_path, pgflow_dsn, "mails.py", "nightly.py")
    (pausing,) = [block for block in blocks(ROOT / "docs/jobs.md", "python") if "pause_flow(" in block.text]
    for arguments in (["signup.py"], ["customers.py"], ["-c", pausing.text]):
        done = run([sys.executable, *arguments], tmp_path, PGFLOW_DSN=pgflow_dsn)
        assert done.returncode == 0, done.stderr
    with psycopg.connect(pgflow_dsn) as conn:
        assert conn.execute("select count(*) from pgflow.runs").fetchone() == (6,)


def test_sql_in_operating_md_runs(pgflow_dsn):
    for block in blocks(ROOT / "docs/operating.md", "sql"):
        with psycopg.connect(pgflow_dsn) as conn:  # one transaction, rolled back: roles belong to the whole server
            conn.execute("create role app")
            conn.execute("create role worker")
            for statement in block.text.replace("'...'", "gen_random_uuid()").split(";"):
                if statement.strip():
                    conn.execute(statement)
            conn.rollback()


def test_the_two_commands_of_the_readme_are_one_line_each():
    text = README.read_text(encoding="utf-8")
    for heading in ("Run it", "Test it"):
        section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        (command,) = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")


def test_the_layers_of_design_md_are_those_that_are_checked():
    text = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    picture = text.partition("## Layers")[2].partition("```\n")[2].partition("```")[0]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    checked = [{name.strip().rpartition(".")[2] for name in layer.split("|")} for layer in contract["layers"]]
    assert [set(line[:39].split()) for line in picture.splitlines()] == checked


def test_cli_md_names_every_option_and_every_exit_code():
    text = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    for name, command in parser.commands(parser.make()).items():
        assert f"## {name}\n" in text
        for taking in (command, *parser.actions(command).values()):
            for action in taking._actions:
                for option in action.option_strings:
                    assert option in ("-h", "--help") or option in text, f"{name} {option}"
    codes = [value for name, value in vars(exits).items() if name.isupper() and type(value) is int]
    assert len(codes) > 4
    for code in codes:
        assert re.search(rf"^\| .*\b{code}\b.* \|", text, re.MULTILINE), code
