"""What the suite takes from the place where it was started, and that it leaves nothing there.

A plugin of conftest.py. Children inherit ignored and blocked signals, so a suite that `nohup`, a script's `&` or a
runner started would test children that no Ctrl-C reaches. And what tests write to the temporary folder stays for ever.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ASKING = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
NEVER_IGNORED = (signal.SIGTERM, signal.SIGCHLD)
HOME = pytest.StashKey[Path]()


def let_children_have_defaults(signals: Iterable[signal.Signals] = ASKING) -> None:
    """Children get the default actions, while this process goes on to ignore what it was told to ignore.

    A handler in place of "ignore" does both: a new program starts with the default action of whatever was handled, and
    with "ignore" for whatever was ignored. SIGTERM always ends, and without SIGCHLD no exit code can be read.
    """
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, ())
    for number in signals:
        if number in blocked or signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    for number in NEVER_IGNORED:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*signals, *NEVER_IGNORED))


def pytest_configure(config: pytest.Config) -> None:
    """The processes that run tests get a temporary folder each, below one that goes at the end."""
    worker = getattr(config, "workerinput", None)
    if worker is None:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())  # tmp_path of failed tests is kept
        home = config.stash[HOME] = Path(tempfile.mkdtemp(prefix="catalyst_cityscapes_tests_"))
        os.environ |= {"TMPDIR": str(home), "HYPOTHESIS_STORAGE_DIRECTORY": str(home / "hypothesis")}
        # Compiling the small network takes most of a minute; the next run of the suite finds it.
        cache = getattr(config, "cache", None)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache.mkdir("inductor") if cache else home / "inductor")
    if worker is not None or config.getoption("dist", "no") == "no":
        folder = Path(os.environ["TMPDIR"], "main" if worker is None else worker["workerid"])
        folder.mkdir()
        os.environ["TMPDIR"] = str(folder)
        let_children_have_defaults()
    tempfile.tempdir = None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Removes what `pytest_configure` made."""
    if HOME in config.stash:
        shutil.rmtree(config.stash[HOME], ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails after a test that left something in the temporary folder; `tmp_path` is the place for it."""
    before = set(os.listdir(tempfile.gettempdir()))
    yield
    left = sorted(set(os.listdir(tempfile.gettempdir())) - before)
    assert not left, f"left in the temporary folder: {left}; write below tmp_path"
