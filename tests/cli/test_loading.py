from __future__ import annotations

import re
import uuid

import pytest

from pgflow_mp.cli.exits import UsageError
from pgflow_mp.cli.loading import load_all, load_one
from pgflow_mp.executors.process.handlers import Packer
from tests.cli.command import GREET

TWO = GREET + GREET.replace("Greet", "Farewell").replace("hello", "goodbye")


@pytest.fixture
def write(tmp_path, monkeypatch, python_as_before):
    """Write a file below the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    return write


def unique(stem: str) -> str:
    return f"{stem}_{uuid.uuid4().hex[:8]}"


def refusal(*targets: str) -> str:
    with pytest.raises(UsageError) as caught:
        load_all(targets)
    return str(caught.value)


def test_the_only_flow_of_a_file_needs_no_name(write):
    assert load_one(write(f"{unique('flows')}.py", GREET)).definition.slug == "greet"


def test_a_flow_is_named_by_class_or_by_slug(write):
    file = write(f"{unique('flows')}.py", TWO)
    assert load_one(f"{file}:Farewell").definition.slug == "farewell"
    assert load_one(f"{file}:farewell").name == "Farewell"


def test_a_module_is_found_from_the_current_folder(write):
    package = unique("app")
    write(f"{package}/__init__.py", "")
    write(f"{package}/flows.py", GREET)
    assert load_one(f"{package}.flows:Greet").definition.source == f"{package}.flows:Greet"


def test_a_package_gathers_the_flows_of_its_modules(write):
    package = unique("app")
    write(f"{package}/__init__.py", "from .a import Greet\nfrom .b import Farewell\n")
    write(f"{package}/a.py", GREET)
    write(f"{package}/b.py", GREET.replace("Greet", "Farewell"))
    assert [flow.name for flow in load_all([package])] == ["Greet", "Farewell"]


def test_a_file_sees_its_neighbours_and_its_handlers_travel_by_reference(write):
    helper, stem = unique("helper"), unique("flows")
    write(f"sub/{helper}.py", "WORD = 'hi'\n")
    flow = load_one(write(f"sub/{stem}.py", f"import {helper}\n{GREET}"))
    assert flow.definition.source == f"{stem}:Greet"
    assert flow.definition.steps[0].handler.__module__ == stem


def test_a_file_named_like_a_module_of_the_standard_library_shadows_nothing(write):
    import queue

    flow = load_one(write("queue.py", GREET))
    import queue as still

    assert still is queue
    assert flow.definition.slug == "greet"
    assert Packer().pack(flow.definition, flow.definition.steps[0]).blob is not None  # no child can import it


def test_a_flow_is_taken_once_however_often_it_is_named(write):
    file = write(f"{unique('flows')}.py", TWO)
    assert [flow.name for flow in load_all([file, f"{file}:Greet", file])] == ["Greet", "Farewell"]


def test_several_flows_and_none_named_lists_them(write):
    file = write(f"{unique('flows')}.py", TWO)
    with pytest.raises(UsageError, match=rf"has 2 flows; say which one: {file}:Greet, {file}:Farewell"):
        load_one(file)


def test_an_unknown_flow_lists_the_known_and_the_near_miss(write):
    file = write(f"{unique('flows')}.py", TWO)
    assert refusal(f"{file}:Great") == f"{file} has no flow Great (did you mean `Greet`?); it has Greet, Farewell"
    assert refusal(f"{file}:zzz") == f"{file} has no flow zzz; it has Greet, Farewell"


def test_a_module_without_flows_says_what_a_flow_is(write):
    assert "has no flows: a flow is a subclass of pgflow_mp.Flow" in refusal(write(f"{unique('flows')}.py", "x = 1\n"))


def test_two_flows_with_one_slug_are_told_apart_by_their_place(write):
    one, two = unique("one"), unique("two")
    text = refusal(write(f"{one}.py", GREET), write(f"{two}.py", GREET))
    assert "two flows have the slug `greet`" in text
    assert f"{one}:Greet and {two}:Greet" in text


def test_a_missing_module_is_not_mistaken_for_a_broken_one(write):
    name = unique("nowhere")
    assert refusal(f"{name}.flows").startswith(f"there is no module `{name}`")


def test_an_error_of_the_module_comes_with_its_line(write):
    stem = unique("flows")
    write(f"{stem}.py", "import math\nimport no_such_module_at_all\n")
    text = refusal(stem)
    assert text.startswith(f"cannot import {stem}: ModuleNotFoundError: No module named 'no_such_module_at_all'")
    assert text.endswith(f"{stem}.py, line 2)")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = (\n", "SyntaxError: '(' was never closed"),
        ("import sys\nsys.exit(3)\n", "it ends the process (sys.exit(3)) while it is imported"),
        ("raise RuntimeError('no config')\n", "RuntimeError: no config"),
        ("from . import sibling\n", "ImportError: attempted relative import"),
    ],
)
def test_a_file_that_cannot_be_imported_says_why(write, code, said):
    text = refusal(write(f"{unique('flows')}.py", code))
    assert said in text
    assert "line" in text


def test_a_file_of_a_package_is_to_be_named_as_a_module(write):
    package = unique("app")
    write(f"{package}/__init__.py", "")
    text = refusal(write(f"{package}/flows.py", "from . import sibling\n"))
    assert f"name the module {package}.flows from the package's parent folder" in text


def test_a_wrong_definition_names_the_class_and_the_line(write):
    text = refusal(write(f"{unique('flows')}.py", GREET.replace("over=names", 'over="nmaes"')))
    assert "Greet" in text
    assert "nmaes" in text
    assert "line" in text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("max_attempts=1", 'slug="no slug"'),
        ("def greeting(item)", "def greeting(item, flow_inputs)"),
        ("@step\n", "@step(timeout=0)\n"),
        ("@step\n", '@step(when_unmet="nothing")\n'),
    ],
)
def test_a_definition_error_points_into_the_file_of_the_flow(write, before, after):
    file = write(f"{unique('flows')}.py", GREET.replace(before, after))
    assert re.search(rf"{file}, line \d+\)$", refusal(file))


def test_a_definition_made_of_plain_data_points_to_its_call(write):
    code = "from pgflow_mp import FlowDefinition\n\nflow = FlowDefinition.from_data('f', [{'slug': 'no slug'}])\n"
    file = write(f"{unique('flows')}.py", code)
    assert refusal(file).endswith(f"{file}, line 3)")


def test_two_flows_whose_slugs_differ_by_case_only_are_refused(write):
    text = GREET.replace("(Flow", '(Flow, slug="Hello"') + GREET.replace(
        "class Greet(Flow", 'class Again(Flow, slug="hello"'
    )
    file = write(f"{unique('flows')}.py", text)
    told = refusal(file)
    assert "`Hello` and `hello` differ by case only" in told
    assert "Greet and" in told
    assert "Again" in told


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("sub/", "sub/ is a folder"),
        ("missing.py", "there is no file missing.py"),
        ("sub/present", "did you mean sub/present.py?"),
        ("not-a-module", "neither a module name"),
        ("flows:", "names no flow"),
        (":Greet", "names no flow"),
    ],
)
def test_a_target_that_is_nothing_says_what_to_write(write, target, said):
    write("sub/present.py", GREET)
    assert said in refusal(target)


def test_jobs_are_flows_of_their_module(write):
    file = write(
        f"{unique('jobs')}.py",
        "from pgflow_mp import Flow, Job, job\n\n\n@job\ndef send(mail):\n    return mail\n\n\n"
        "class Sweep(Job):\n    def perform():\n        return 1\n",
    )
    assert [flow.name for flow in load_all([file])] == ["send", "Sweep"]
    packed = [Packer().pack(flow.definition, flow.definition.steps[0]) for flow in load_all([file])]
    assert [parcel.blob for parcel in packed] == [None, None]  # they travel by reference
