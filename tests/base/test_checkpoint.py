"""Checkpoints: which are kept, which is the best, the official format, and files that cannot be used."""

import math
import pickle
import zipfile
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from catalyst_cityscapes.callbacks import Checkpoint
from catalyst_cityscapes.export.weights import read_weight_file
from catalyst_cityscapes.models.reference import PSPNetLogits
from catalyst_cityscapes.recipe.length import Length
from catalyst_cityscapes.train.preemption import Consensus, StopSignals
from semseg_ref.base.checkpoints.plain_parts import read_plain_parts
from semseg_ref.base.checkpoints.state_dict import load_weights, read_checkpoint, save_checkpoint
from semseg_ref.base.errors import CheckpointError, OptionError
from semseg_ref.model import PSPNet
from support.networks.small import SmallNetwork
from support.runs.toy import assert_same

NAN, INF = math.nan, math.inf


def runner_at(epoch: int, epochs: int, folder: Path, network: nn.Module, metrics: dict) -> SimpleNamespace:
    """What the callback asks of a runner at the end of an epoch."""
    return SimpleNamespace(
        milestone=epoch, length=Length("epoch", epochs, 1), epoch_metrics=metrics, logdir=folder,
        network=network, checkpoint_bytes=0, engine=SimpleNamespace(is_main_process=True),
        state_dict=lambda: {"epoch": epoch}, signals=StopSignals(), prepare_checkpoint=lambda: None,
        consensus=Consensus(1, timedelta(minutes=1)),
    )  # fmt: skip


def train(folder: Path, callback: Checkpoint, scores: list[float | None], first: int = 1, epochs: int = 0) -> None:
    """Ends one epoch after another with these validation scores (None: not validated); see `epochs_of`."""
    network = SmallNetwork(classes=2)
    for epoch, score in enumerate(scores, start=first):
        metrics = {"train": {"loss": 1.0}}
        if score is not None:
            metrics["valid"] = {"mIoU": score, "loss": 2.0}
        callback.on_epoch_end(runner_at(epoch, epochs or len(scores), folder, network, metrics))


def epochs_of(folder: Path) -> dict[str, int]:
    """The epoch that each checkpoint of a run folder holds, by file name."""
    return {path.name: read_checkpoint(path)["epoch"] for path in (folder / "model").iterdir()}


# ---------------------------------------------------------------- the best


@pytest.mark.parametrize(
    ("scores", "minimize", "best"),
    [
        ([NAN, 0.3, 0.5, 0.4, 0.45], False, 3),
        ([NAN, 3.0, 1.0, 2.0, 1.5], True, 3),
        ([INF, 0.3, 0.2], False, 2),
        ([-INF, 0.3, 0.2, NAN], True, 3),
        ([0.5, 0.5, 0.1], False, 1),
        ([-0.2, -0.1, -0.3], False, 2),
        ([0.1, None, None, 0.2, None], False, 4),
    ],
)
def test_best_is_the_best(tmp_path, scores, minimize, best):
    callback = Checkpoint(metric="mIoU", minimize=minimize)
    train(tmp_path, callback, scores)
    found = epochs_of(tmp_path)
    assert found["best.pth"] == best
    assert found["last.pth"] == len(scores)
    assert callback.state_dict() == {"best": scores[best - 1], "best_epoch": best}


def test_no_best_without_a_finite_score(tmp_path):
    train(tmp_path, Checkpoint(metric="mIoU"), [NAN, NAN, INF])
    assert "best.pth" not in epochs_of(tmp_path)


def test_the_reference_selects_none(tmp_path):
    train(tmp_path, Checkpoint(), [0.1, 0.2])
    assert epochs_of(tmp_path) == {"train_epoch_1.pth": 1, "train_epoch_2.pth": 2, "last.pth": 2}


def test_the_best_so_far_survives_a_restart(tmp_path):
    before = Checkpoint(metric="mIoU")
    train(tmp_path, before, [0.2, 0.6], epochs=4)
    after = Checkpoint(metric="mIoU")
    after.load_state_dict(before.state_dict())
    train(tmp_path, after, [0.5, 0.4], first=3, epochs=4)
    assert epochs_of(tmp_path)["best.pth"] == 2


def test_unknown_metric_is_named(tmp_path):
    with pytest.raises(OptionError, match="no metric 'miou'; did you mean 'mIoU'"):
        train(tmp_path, Checkpoint(metric="miou"), [0.1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"select": "newest"}, "newest"),
        ({"select": "best"}, "needs a metric"),
        ({"keep": 0}, "keep"),
        ({"save_every": 0}, "save_every"),
        ({"every_minutes": 0}, "every_minutes"),
        ({"every_minutes": NAN}, "every_minutes"),
    ],
)
def test_wrong_arguments(values, message):
    with pytest.raises(OptionError, match=message):
        Checkpoint(**values)


# ---------------------------------------------------------------- what is kept


def test_two_files_are_kept(tmp_path):
    train(tmp_path, Checkpoint(metric="mIoU"), [0.1, 0.9, 0.2, 0.3, 0.4])
    assert epochs_of(tmp_path) == {"train_epoch_4.pth": 4, "train_epoch_5.pth": 5, "last.pth": 5, "best.pth": 2}


def test_epochs_order_by_number_and_not_by_name(tmp_path):
    train(tmp_path, Checkpoint(keep=3), [None] * 11)
    assert epochs_of(tmp_path) == {**{f"train_epoch_{n}.pth": n for n in (9, 10, 11)}, "last.pth": 11}


def test_save_every_saves_the_last_and_a_best_between(tmp_path):
    train(tmp_path, Checkpoint(save_every=3, metric="mIoU"), [0.1, 0.2, 0.3, 0.4, 0.9, 0.5, 0.6])
    assert epochs_of(tmp_path) == {"train_epoch_6.pth": 6, "train_epoch_7.pth": 7, "last.pth": 7, "best.pth": 5}


def test_going_on_from_an_older_epoch_keeps_what_is_written_now(tmp_path):
    train(tmp_path, Checkpoint(), [None] * 5)
    train(tmp_path, Checkpoint(), [None, None], first=2, epochs=5)
    found = epochs_of(tmp_path)
    assert found["last.pth"] == found["train_epoch_3.pth"] == 3
    assert found["train_epoch_2.pth"] == 2


def test_links_become_copies_where_there_are_none(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("no links on this file system")

    monkeypatch.setattr("os.link", refuse)
    train(tmp_path, Checkpoint(metric="mIoU"), [0.1, 0.9, 0.2])
    assert epochs_of(tmp_path) == {"train_epoch_2.pth": 2, "train_epoch_3.pth": 3, "last.pth": 3, "best.pth": 2}


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "model.pth"
    save_checkpoint(path, {"epoch": 1})
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        save_checkpoint(path, {"epoch": lambda: 2})
    assert read_checkpoint(path) == {"epoch": 1}


# ---------------------------------------------------------------- the official format


def test_a_catalyst_checkpoint_loads_into_the_reference_network(workdir):
    ours = PSPNetLogits(classes=19, pretrained=False)
    state = {"epoch": 7, "state_dict": {f"module.{key}": value for key, value in ours.state_dict().items()}}
    Checkpoint().on_epoch_end(runner_at(7, 7, workdir, ours, {}))
    written = read_checkpoint(workdir / "model" / "last.pth")
    assert_same(written["state_dict"], state["state_dict"])
    assert list(written["state_dict"]) == list(state["state_dict"])
    reference = PSPNet(classes=19, pretrained=False)
    assert load_weights(reference, workdir / "model" / "last.pth")["epoch"] == 7
    assert_same(dict(reference.state_dict()), dict(ours.state_dict()))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_every_known_form_loads(tmp_path, prefix, wrapper, is_zip):
    source, target = SmallNetwork(classes=3), SmallNetwork(classes=3)
    weights = {prefix + key: value for key, value in source.state_dict().items()}
    content = weights if wrapper is None else {"epoch": 1, wrapper: weights}
    torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=is_zip)
    load_weights(target, tmp_path / "model.pth")
    assert_same(dict(target.state_dict()), dict(source.state_dict()))


# ---------------------------------------------------------------- files that cannot be used


def test_missing_file_names_its_neighbours(tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such checkpoint; .* has no \.pth file"):
        read_checkpoint(tmp_path / "absent.pth")
    save_checkpoint(tmp_path / "train_epoch_3.pth", {})
    with pytest.raises(CheckpointError, match=r"absent\.pth: no such checkpoint; in .*train_epoch_3\.pth"):
        read_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match="nowhere"):
        read_checkpoint(tmp_path / "nowhere" / "absent.pth")


def bad_files() -> dict[str, bytes]:
    """Contents that are no checkpoint, by what is wrong."""
    files = {"empty": b"", "text": b"hello, I am no checkpoint\n", "zip": b"PK\x03\x04" + b"x" * 60}
    for kind, is_zip in (("new", True), ("old", False)):
        path = Path(f"{kind}.pth")
        torch.save({"state_dict": SmallNetwork().state_dict()}, path, _use_new_zipfile_serialization=is_zip)
        whole = path.read_bytes()
        files |= {f"{kind} cut at {n}": whole[:n] for n in (1, 5, 64, 300, len(whole) // 2, len(whole) - 1)}
        path.unlink()
    return files


def test_damaged_files_are_named_in_one_line(tmp_path, monkeypatch, recwarn):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "damaged.pth"
    model = SmallNetwork()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for kind, content in bad_files().items():
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            load_weights(model, path)
        message = str(caught.value)
        assert message.startswith(f"{path}: "), kind
        assert "\n" not in message, kind
        assert "()" not in message, kind
    assert_same(dict(model.state_dict()), before)
    assert not recwarn.list


@pytest.mark.parametrize("save", [lambda path, state: torch.save(state, path), save_checkpoint], ids=["torch", "ours"])
@pytest.mark.parametrize("byte", [0, 17])
def test_a_flipped_byte_of_a_weight_is_seen(tmp_path, save, byte):
    path, weight = tmp_path / "x.pth", torch.arange(100.0)
    save(path, {"state_dict": {"a": weight}})
    content = bytearray(path.read_bytes())
    content[content.index(weight.numpy().tobytes()) + byte] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # torch reads it without a word
    for read in (read_checkpoint, read_plain_parts, read_weight_file):
        with pytest.raises(CheckpointError, match=r"x\.pth: damaged \(the record .*data/0 differs from its checksum"):
            read(path)


def test_an_archive_without_checksums_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"state_dict": {"a": torch.ones(3), "empty": torch.ones(0)}}, tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        assert archive.testzip() is not None
    assert torch.equal(read_checkpoint(tmp_path / "x.pth")["state_dict"]["a"], torch.ones(3))


@pytest.mark.parametrize(
    "content",
    [1, None, [1], {}, {"epoch": 3}, {"state_dict": {}}, {"state_dict": {"a": 1}}, {1: torch.ones(1)},
     {"state_dict": {2: torch.ones(1)}}],
    ids=str,
)  # fmt: skip
def test_content_without_weights(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=r"odd\.pth: holds no state dict"):
        load_weights(SmallNetwork(), tmp_path / "odd.pth")


def test_another_network_is_counted(tmp_path):
    model = SmallNetwork(classes=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    total = len(before)
    other = dict(SmallNetwork(classes=4).state_dict())
    del other["layer0.0.weight"], other["layer0.1.bias"]
    other["decoder.weight"] = torch.ones(2)
    save_checkpoint(tmp_path / "other.pth", {"state_dict": other})
    with pytest.raises(CheckpointError) as caught:
        load_weights(model, tmp_path / "other.pth")
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path / 'other.pth'}: does not fit SmallNetwork: {total - 6} of {total} tensors match"
    )
    assert "2 missing: layer0.0.weight, layer0.1.bias;" in message
    assert "1 unexpected: decoder.weight;" in message
    assert "4 of the wrong shape: cls.1.weight [4, 8, 1, 1] instead of [3, 8, 1, 1], " in message
    assert_same(dict(model.state_dict()), before)


class RunsCode:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, form):
    witness, path = tmp_path / "was_here", tmp_path / "evil.pth"
    content = {"state_dict": SmallNetwork().state_dict(), "extra": RunsCode(witness)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(RunsCode(witness)))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(CheckpointError, match=r"evil\.pth: .*(code is never run|damaged)"):
        load_weights(SmallNetwork(), path)
    assert not witness.exists()
    pickle.loads(pickle.dumps(RunsCode(witness)))
    assert witness.exists()  # it would have run
