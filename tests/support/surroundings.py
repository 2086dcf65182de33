"""What the suite takes from the place where it was started, and that it leaves nothing there.

A plugin of conftest.py. Children inherit ignored and blocked signals, so a suite that `nohup`, a script's `&` or a
runner started would test children that no Ctrl-C reaches. And what tests write to the temporary folder stays for ever.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ASKING = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
NEVER_IGNORED = (signal.SIGTERM, signal.SIGCHLD)
COMPILER = "torchinductor_"
"""Start of the folder where torch keeps precompiled headers, whatever TORCHINDUCTOR_CACHE_DIR says, as long as a
process lives (torch/_inductor/codecache.py, `_HEADER_DIR`); it lies in the worker's folder and goes with that."""
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


@pytest.fixture(scope="session", autouse=True)
def nothing_left_by_fixtures() -> Iterator[None]:
    """Fails at the end where a fixture of a module or of the session left something that `nothing_left` cannot see."""
    with _empty_afterwards():
        yield


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails after a test that left something in the temporary folder."""
    with _empty_afterwards():
        yield


@contextmanager
def _empty_afterwards() -> Iterator[None]:
    folder = Path(tempfile.gettempdir())
    before = set(os.listdir(folder))
    yield
    left = sorted(name for name in set(os.listdir(folder)) - before if not name.startswith(COMPILER))
    for name in left:  # told once, by the first that sees it
        path = folder / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    assert not left, f"left in the temporary folder: {left}; write below tmp_path"
