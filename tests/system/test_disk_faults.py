"""Full, read-only and vanishing disks, damaged files: what each does to a run."""

import errno
import os
import resource
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from catalyst_cityscapes.callbacks import GradientStep, MeanIoU
from catalyst_cityscapes.runs.checkpoints import occupied
from catalyst_cityscapes.runs.disk_space import checkpoint_bytes
from semseg_ref.base.checkpoints.checksum import check_integrity
from semseg_ref.base.checkpoints.state_dict import read_checkpoint, save_checkpoint
from semseg_ref.base.errors import CheckpointError, StorageError
from semseg_ref.base.iteration_log import read_iteration_log
from support.networks.small import SmallNetwork
from support.runs.crashes import assert_one_line, snapshot, train
from support.runs.toy import assert_same, assert_same_runs

pytestmark = pytest.mark.usefixtures("one_thread_module")
NOT_WRITTEN = 74


@pytest.fixture(scope="module")
def uninterrupted(toy_city, tmp_path_factory):
    """Run folder of three epochs in one go."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(toy_city) == 0
    return folder / "run"


def at_call(patch: pytest.MonkeyPatch, owner: type, number: int, action: object) -> None:
    """Does something before the `number`-th call (from 1) of a callback's `on_batch_end`."""
    original, calls = owner.on_batch_end, []

    def acting(self: object, runner: object) -> None:
        calls.append(1)
        if len(calls) == number:
            action()
        original(self, runner)

    patch.setattr(owner, "on_batch_end", acting)


# ---------------------------------------------------------------- a disk that is full


def free_bytes(patch: pytest.MonkeyPatch, free: int) -> None:
    """The disk seems to have so much room."""
    patch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(total=10**12, used=0, free=free))


def test_no_room_before_a_run_is_bad_input(toy_city, workdir, monkeypatch, capsys):
    free_bytes(monkeypatch, 1 << 20)
    assert train(toy_city) == 2
    assert_one_line(capsys.readouterr().err, "run/model: 4 checkpoints of", "1 MB are free")
    assert not Path("run").exists()


def test_a_run_that_is_replaced_makes_room_only_after_the_first_checkpoint(toy_city, workdir, monkeypatch, capsys):
    assert train(toy_city) == 0
    before = sorted(path.name for path in Path("run/model").glob("*.pth"))
    capsys.readouterr()
    free_bytes(monkeypatch, 1 << 19)
    assert train(toy_city, "--overwrite") == 2
    assert_one_line(capsys.readouterr().err, "run/model: a checkpoint of", "beside those that it replaces")
    assert sorted(path.name for path in Path("run/model").glob("*.pth")) == before


def test_no_room_later_stops_with_the_last_good_one(toy_city, workdir, monkeypatch, uninterrupted, capsys):
    with monkeypatch.context() as patch:
        at_call(patch, GradientStep, 8 + 2, lambda: free_bytes(patch, 1 << 19))
        assert train(toy_city) == NOT_WRITTEN
    assert_one_line(
        capsys.readouterr().err, "run/model: a checkpoint of", "last good checkpoint is run/model/last.pth", "auto"
    )
    assert read_checkpoint("run/model/last.pth")["epoch"] == 1
    assert train(toy_city, "--resume", "auto") == 0
    assert_same_runs(uninterrupted, workdir / "run")


def test_a_disk_that_fills_up_while_a_file_is_written(toy_city, workdir, monkeypatch, uninterrupted, capsys):
    """A limit on the size of files, as the kernel sets it, in the place of a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with monkeypatch.context() as patch:
            small = (20_000, limits[1])
            at_call(patch, GradientStep, 8 + 2, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, small))
            assert train(toy_city) == NOT_WRITTEN
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    named = f"run/model/train_epoch_2.pth: cannot be written ({os.strerror(errno.EFBIG)})"
    assert_one_line(capsys.readouterr().err, named, "last good checkpoint is run/model/last.pth")
    assert not list(Path("run").rglob("*.tmp"))
    assert train(toy_city, "--resume", "auto") == 0
    assert_same_runs(uninterrupted, workdir / "run")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux' /dev/full")
def test_a_device_without_room(tmp_path):
    path = tmp_path / "model.pth"
    save_checkpoint(path, {"epoch": 1})
    (tmp_path / "model.pth.tmp").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=rf"model\.pth: cannot be written \({os.strerror(errno.ENOSPC)}\)"):
        save_checkpoint(path, {"epoch": torch.zeros(100_000)})
    assert read_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["model.pth"]


def test_the_size_is_foreseen(uninterrupted):
    """Within 15 %, apart from the fixed part; more than the file has."""
    network = SmallNetwork(classes=19)
    for optimizer in (torch.optim.SGD(network.parameters(), 0.1, momentum=0.9), torch.optim.Adam(network.parameters())):
        foreseen = checkpoint_bytes(network, optimizer)
        network(torch.zeros(2, 3, 9, 9), torch.zeros(2, 9, 9, dtype=torch.long))[1].backward()
        optimizer.step()
        path = uninterrupted.parent / "size.pth"
        save_checkpoint(path, {"state_dict": network.state_dict(), "optimizer": optimizer.state_dict()})
        assert path.stat().st_size <= foreseen <= path.stat().st_size + (2 << 20)
        path.unlink()
    assert (uninterrupted / "model" / "last.pth").stat().st_size <= foreseen


def test_links_occupy_their_file_once(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"12345")
    os.link(tmp_path / "a.pth", tmp_path / "b.pth")
    (tmp_path / "c.pth").write_bytes(b"123")
    assert occupied(tmp_path) == 8


# ---------------------------------------------------------------- folders that cannot be used, or go


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_bad_input(toy_city, workdir, capsys):
    Path("run").mkdir(mode=0o500)
    assert train(toy_city) == 2
    assert_one_line(capsys.readouterr().err, "run: this folder cannot be written to")


def test_a_folder_that_becomes_read_only(toy_city, workdir, monkeypatch, uninterrupted, capsys):
    """As root, permissions do not count: opening the temporary file fails as it would."""
    original = open

    def refusing(path: object, mode: str = "r", *others: object, **named: object) -> object:
        if str(path).endswith(".pth.tmp") and "w" in mode:
            raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return original(path, mode, *others, **named)

    with monkeypatch.context() as patch:
        at_call(patch, GradientStep, 8 + 2, lambda: patch.setattr("builtins.open", refusing))
        assert train(toy_city) == NOT_WRITTEN
    named = f"run/model/train_epoch_2.pth: cannot be written ({os.strerror(errno.EROFS)})"
    assert_one_line(capsys.readouterr().err, named, "last good checkpoint is run/model/last.pth")
    assert train(toy_city, "--resume", "auto") == 0
    assert_same_runs(uninterrupted, workdir / "run")


def test_a_run_folder_that_is_removed_under_the_run(toy_city, workdir, monkeypatch, uninterrupted, capsys):
    """The run goes on; what it still knows is written anew: checkpoints whole, logs from here on."""
    with monkeypatch.context() as patch:
        at_call(patch, MeanIoU, 8 + 2, lambda: shutil.rmtree("run"))
        assert train(toy_city) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("; ")[0] for line in lines] == [
        "catalyst-dl: warning: run/iterations.csv: is gone", "catalyst-dl: warning: run/metrics.csv: is gone"
    ]  # fmt: skip
    for name in ("last.pth", "train_epoch_2.pth"):
        assert_same(
            *(read_checkpoint(folder / "model" / name)["state_dict"] for folder in (uninterrupted, Path("run")))
        )
    whole = read_iteration_log(uninterrupted / "iterations.csv")
    assert read_iteration_log("run/iterations.csv") == whole[-len(read_iteration_log("run/iterations.csv")) :]
    assert len(read_iteration_log("run/iterations.csv")) >= 8


def test_leftovers_of_a_killed_process_go_at_the_next_start(toy_city, workdir, uninterrupted):
    shutil.copytree(uninterrupted, "run")
    leftovers = [Path("run/model/train_epoch_3.pth.tmp"), Path("run/.recipe.yml.123.tmp"), Path("run/metrics.csv.tmp")]
    for path in leftovers:
        path.write_bytes(b"half")
    before = snapshot(uninterrupted / "model")
    assert train(toy_city, "--resume", "auto") == 0
    assert not any(path.exists() for path in leftovers)
    assert [Path(name).name for name in snapshot(Path("run/model"))] == [Path(name).name for name in before]


# ---------------------------------------------------------------- checksums


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """Every byte of a small file, one bit each."""
    path = tmp_path / "model.pth"
    content = {"epoch": 3, "state_dict": {"weight": torch.arange(40.0), "bias": torch.ones(2)}}
    save_checkpoint(path, content)
    check_integrity(path)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        with pytest.raises(CheckpointError, match=r"^[^\n]*model\.pth: [^\n]+$"):
            check_integrity(path)


def test_official_files_are_checked_by_their_records(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"state_dict": {"weight": torch.arange(40.0)}}, path)
    check_integrity(path)
    content = path.read_bytes()
    place = content.index(torch.arange(40.0).numpy().tobytes())
    path.write_bytes(content[: place + 9] + b"\xff" + content[place + 10 :])
    with pytest.raises(CheckpointError, match=r"model\.pth: damaged \(the record .*/data/0 differs"):
        check_integrity(path)
    torch.save({"state_dict": {"weight": torch.arange(40.0)}}, path, _use_new_zipfile_serialization=False)
    check_integrity(path)


def test_a_sealed_file_reads_as_any_other(tmp_path):
    path = tmp_path / "model.pth"
    content = {"epoch": 3, "state_dict": {"weight": torch.arange(40.0)}}
    save_checkpoint(path, content)
    for options in ({"weights_only": True}, {"weights_only": True, "mmap": True}, {"weights_only": False}):
        assert_same(torch.load(path, **options), content)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"sha256:")


@pytest.mark.parametrize("length", [0, 1, 100, 0.5, -1])
def test_no_cut_goes_unnoticed(tmp_path, length):
    path = tmp_path / "model.pth"
    save_checkpoint(path, {"state_dict": {"weight": torch.arange(40.0)}})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * length) if isinstance(length, float) else length])
    with pytest.raises(CheckpointError, match=r"model\.pth: (damaged|empty|not a checkpoint)"):
        check_integrity(path)
