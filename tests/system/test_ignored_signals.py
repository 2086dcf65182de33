"""What `catalyst-dl` and the launchers do with signals that whatever started them ignores."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from support.command_line import dl
from support.places import PROJECT

TOOL = PROJECT / "tool"
ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def test_sigterm_ends_and_children_are_waited_for_whatever_was_ignored(tmp_path):
    numbers = (signal.SIGTERM, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 0
        assert dl("weights", "inspect", tmp_path / "none.pth").exit_code == 2
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_DFL] * 2 + [signal.SIG_IGN] * 2
        assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 3
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_handlers_of_the_caller_are_left_alone(tmp_path):
    def handle(*_):
        pass

    before = signal.signal(signal.SIGTERM, handle)
    try:
        assert dl("weights", "inspect", tmp_path / "none.pth").exit_code == 2
        assert signal.getsignal(signal.SIGTERM) is handle
    finally:
        signal.signal(signal.SIGTERM, before)


def stub(path: Path, line: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{line}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("ignored", [(), (signal.SIGHUP,), (signal.SIGINT, signal.SIGQUIT), ALL[1:]])
@pytest.mark.parametrize("launcher", ["train_cat.sh", "train.sh"])
def test_torchrun_is_not_told_to_end_by_signals_that_are_ignored(tmp_path, launcher, ignored):
    """A project of stubs: torchrun prints what it is told."""
    sources = ("../semseg_ref/train.py", "../semseg_ref/tester.py")
    for name in ("setup.sh", "test.sh", "official/city/city_net.yaml", *sources):
        stub(tmp_path / "tool" / name, "")
    stub(tmp_path / ".venv/bin/torchrun", 'echo "$@"')
    stub(tmp_path / ".venv/bin/python", "echo 2")
    stub(tmp_path / "tool" / launcher, (TOOL / launcher).read_text())

    def start() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    arguments = ["-n", "2", "--config", "x"] if launcher == "train_cat.sh" else ["city", "net"]
    command = ["bash", str(tmp_path / "tool" / launcher), *arguments]
    done = subprocess.run(command, env=os.environ, preexec_fn=start, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split()
    expected = [number.name for number in ALL if number not in ignored]
    assert words[words.index("--signals-to-handle") + 1].split(",") == expected
