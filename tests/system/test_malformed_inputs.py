"""The corpus of malformed inputs: one line that names file and place, exit code 2, and no file changed."""

import os
import shutil
from pathlib import Path

import pytest

from support.command_line import catalyst_dl
from support.malformed.inputs import CASES
from support.malformed.labs import furnish_labs
from support.malformed.making import furnish_results
from support.malformed.place import Place, assert_refused, furnish, tree


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


@pytest.fixture(scope="module")
def copy(template, tmp_path_factory):
    """A copy of the template that each test gets as it was."""
    return Place(template, tmp_path_factory.mktemp("copy") / "place")


@pytest.fixture
def place(copy, monkeypatch):
    """A working directory like the template."""
    monkeypatch.chdir(copy.folder)
    yield copy.folder
    copy.restore()


def test_the_place_is_as_it_was(copy, place):
    """Whatever a case does to its working directory, the next one does not see it."""
    before = {path: path.lstat().st_mode for path in place.rglob("*")}, tree(place)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    size = files[0].stat().st_size
    files[0].write_bytes(bytes(size))
    files[1].unlink()
    files[2].unlink()
    files[2].symlink_to(files[3])
    files[4].chmod(0o400)
    files[5].unlink()
    files[5].mkdir()
    os.mkfifo(place / "pipe")
    (place / "new" / "folder").mkdir(parents=True)
    (place / "new" / "folder" / "file").write_text("x")
    shutil.rmtree(place / "city")
    (place / "city").write_text("a file")
    copy.restore()
    assert ({path: path.lstat().st_mode for path in place.rglob("*")}, tree(place)) == before


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
