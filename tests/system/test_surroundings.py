"""Wherever the suite is started, its children have the default signals, and nothing is left in the temporary folder."""

import ast
import getpass
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from support.command_line import child_environment
from support.places import TESTS
from support.surroundings import ASKING, NEVER_IGNORED

IGNORED_AND_BLOCKED = """
import pathlib, re
status = pathlib.Path("/proc/self/status").read_text()
print(*(int(re.search(rf"{name}:\\s*(\\w+)", status)[1], 16) for name in ("SigIgn", "SigBlk")))
"""
STARTS_A_CHILD = f"""
import os, signal, subprocess, sys, time

def test_child(tmp_path):
    for number in {[int(number) for number in ASKING]}:
        os.kill(os.getpid(), number)  # this process was told to ignore them
    child = subprocess.run([sys.executable, "-c", {IGNORED_AND_BLOCKED!r}], stdout=subprocess.PIPE, text=True)
    ignored, blocked = map(int, child.stdout.split())
    for number in {[int(number) for number in (*ASKING, *NEVER_IGNORED)]}:
        assert not (ignored | blocked) >> (number - 1) & 1, number
    assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
"""
LEAVES = """
import pytest, tempfile

@pytest.fixture(scope="module")
def shared():
    yield tempfile.mkdtemp(prefix="shared_")

def test_of_a_fixture_that_leaves(shared):
    pass

def test_leaves():
    tempfile.mkdtemp(prefix="left_")

def test_leaves_nothing(tmp_path):
    assert tempfile.gettempdir() not in str(tmp_path)
"""


def session(folder: Path, code: str, *options: str, **started) -> subprocess.CompletedProcess:
    """A suite of one module, with the temporary folder `folder/tmp`."""
    (folder / "tmp").mkdir()
    module = folder / "test_inner.py"
    module.write_text(code)
    environment = {name: value for name, value in child_environment().items() if not name.startswith("PYTEST_")}
    environment |= {"TMPDIR": str(folder / "tmp"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "support.surroundings", *options, str(module)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, **started)


def with_nothing_to_read_and_signals_taken() -> None:
    """As if whatever started this process had closed stdin, ignored some signals and blocked others."""
    os.close(0)
    for number in (*ASKING, *NEVER_IGNORED):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads signal masks from /proc")
@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=("alone", "worker"))
def test_children_have_default_signals(tmp_path, options):
    done = session(tmp_path, STARTS_A_CHILD, *options, preexec_fn=with_nothing_to_read_and_signals_taken)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=("alone", "worker"))
def test_what_is_left_fails_and_goes(tmp_path, options):
    done = session(tmp_path, LEAVES, *options)
    assert done.returncode == 1
    assert "left in the temporary folder: ['left_" in done.stdout
    assert "left in the temporary folder: ['shared_" in done.stdout
    assert "3 passed, 2 errors" in done.stdout
    assert [path.name for path in (tmp_path / "tmp").iterdir()] == [f"pytest-of-{getpass.getuser()}"]


@pytest.mark.parametrize("module", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS)))
def test_what_is_skipped_says_why(module):
    """`importorskip` names the package by itself."""
    for node in ast.walk(ast.parse(module.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        if ast.unparse(node.func) in ("pytest.skip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"):
            reasons = [word.value for word in node.keywords if word.arg == "reason"]
            reasons += node.args[:1] if ast.unparse(node.func) == "pytest.skip" else []
            assert reasons, f"{module.name}:{node.lineno}: no reason"
            assert ast.unparse(reasons[0]) not in ("''", "None"), f"{module.name}:{node.lineno}: no reason"
