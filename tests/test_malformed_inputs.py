"""The corpus of malformed inputs: one line that names file and place, exit code 2, and no file changed."""

import os
import shutil
from pathlib import Path

import pytest
from bad_input_place import assert_refused, furnish, tree
from malformed_inputs import CASES
from malformed_labs import furnish_labs
from malformed_making import furnish_results
from toy_runs import catalyst_dl


@pytest.fixture(scope="module")
def template(toy_city, tmp_path_factory):
    """A toy city, runs, checkpoints and configs, to be copied by each test."""
    folder = tmp_path_factory.mktemp("template")
    before = Path.cwd()
    os.chdir(folder)
    try:
        furnish(toy_city)
        furnish_results()
        furnish_labs()
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def place(template, workdir):
    """A working directory with a copy of the template."""
    shutil.copytree(template, workdir, dirs_exist_ok=True)
    return workdir


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace("/", " "))
def test_malformed(case, place, capsys):
    case.make()
    before = tree(place)
    code = catalyst_dl(*case.words)
    assert_refused(capsys, code, *case.parts)
    after = tree(place)
    assert {path: after.get(path) for path in before} == before
    assert not Path("ran").exists()


def test_the_corpus_has_at_least_250_cases_and_every_command_is_in_it():
    assert len(CASES) >= 250
    assert all(case.parts and isinstance(case.parts, tuple) and all(case.parts) for case in CASES)
    assert len({case.name for case in CASES}) == len(CASES)
    assert {
        "prepare",
        "browse",
        "run",
        "test",
        "evaluate",
        "scores",
        "submit",
        "weights",
        "demo",
        "report",
        "lint",
        "diff",
        "ab",
        "ladder",
    } <= {case.words[0] for case in CASES}
