"""Child processes of a lab end with it, and one lab at a time holds a folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catalyst_cityscapes.launch import folder_lock
from catalyst_cityscapes.launch.children import Child, command_line, end_all
from catalyst_cityscapes.launch.folder_lock import locked
from semseg_ref.base.errors import InputError
from support.runs.labs import wait_for

SLEEP = "import time; time.sleep(300)"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def number_in(path: Path) -> int:
    wait_for(lambda: path.is_file() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_child_writes_both_streams_to_its_log_and_gives_its_code(tmp_path):
    log = tmp_path / "log"
    log.write_text("before\n")
    code = "import os, sys; print(os.environ['WORD'], flush=True); sys.stderr.write('error\\n'); sys.exit(3)"
    with locked(tmp_path) as held:
        child = Child(python(code), log, {**os.environ, "WORD": "word"}, held)
        assert child.wait(60)
    assert child.poll() == 3
    assert log.read_text() == "before\nword\nerror\n"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("stubborn", [False, True], ids=("willing", "stubborn"))
def test_ending_a_child_ends_what_it_started(tmp_path, monkeypatch, stubborn):
    """A loader's worker is such a child of a child."""
    monkeypatch.setattr("catalyst_cityscapes.launch.children.END_SECONDS", 0.5)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else "0"
    code = f"""
import os, signal, time
{ignore}
child = os.fork()
if child:
    with open("pid.tmp", "w") as file: file.write(f"{{child}}\\n")
    os.rename("pid.tmp", "pid")
time.sleep(300)
"""
    monkeypatch.chdir(tmp_path)
    with locked(tmp_path) as held:
        child = Child(python(code), tmp_path / "log", os.environ, held)
        grandchild = number_in(tmp_path / "pid")
        end_all([child])
    assert child.poll() == -(signal.SIGKILL if stubborn else signal.SIGTERM)
    wait_for(lambda: not alive(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death signal is Linux's")
def test_killing_the_parent_ends_its_children_and_frees_the_folder(tmp_path):
    code = f"""
import os, sys, time
from pathlib import Path
from catalyst_cityscapes.launch import folder_lock
from catalyst_cityscapes.launch.children import Child
from catalyst_cityscapes.launch.folder_lock import locked
with locked(Path("lab")) as held:
    child = Child([sys.executable, "-c", {SLEEP!r}], Path("log"), os.environ, held)
    Path("pid.tmp").write_text(f"{{child.process.pid}}\\n")
    os.rename("pid.tmp", "pid")
    time.sleep(300)
"""
    parent = subprocess.Popen(python(code), cwd=tmp_path)
    try:
        child = number_in(tmp_path / "pid")
        with pytest.raises(InputError, match=f"another lab is running in this folder .process {parent.pid}"):
            locked(tmp_path / "lab").__enter__()
    finally:
        parent.kill()
        parent.wait()
    with locked(tmp_path / "lab"):
        assert not alive(child)


def test_runs_that_are_left_behind_hold_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_lock, "LEFT_BEHIND_SECONDS", 0.3)
    gone = subprocess.Popen(python("0"))
    gone.wait()
    with locked(tmp_path) as held:
        child = Child(python(SLEEP), tmp_path / "log", os.environ, held)
    (tmp_path / ".lock").write_text(str(gone.pid))
    try:
        with pytest.raises(InputError, match=f"runs of a lab that was killed .process {gone.pid}. are still running"):
            locked(tmp_path).__enter__()
    finally:
        end_all([child])
    with locked(tmp_path):
        pass


def test_command_line_is_that_of_this_interpreter(monkeypatch, tmp_path):
    program = command_line("run", "--show")
    assert program[0] == sys.executable
    assert program[-2:] == ["run", "--show"]
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert command_line("run") == [
        str(tmp_path / "python"),
        "-c",
        "from catalyst_cityscapes.cli import main; main()",
        "run",
    ]
