"""Pickles are never executed, in whatever file they come and whoever reads it."""

import ast
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from semseg_ref.base.checkpoints.reading import read_checkpoint
from semseg_ref.base.errors import CheckpointError, DataError
from semseg_ref.base.safe.npz import read_arrays
from semseg_ref.base.safe.torch_load import FORCED, LIFTED, no_pickled_code
from support.command_line import catalyst_dl
from support.faults.hostile_files import Payload, npz_header, write_zip
from support.places import PROJECT
from support.runs.toy import SMALL, SMALL_PACKAGE, toy_settings

PLACES = {
    "the whole": lambda payload: payload,
    "the state dict": lambda payload: {"state_dict": payload},
    "a weight": lambda payload: {"state_dict": {"a": torch.zeros(1), "b": payload}},
    "the optimiser": lambda payload: {"state_dict": {"a": torch.zeros(1)}, "optimizer": {"state": [(1, payload)]}},
    "a key": lambda payload: {"state_dict": {"a": torch.zeros(1)}, (1, payload): 2},
    "the recipe": lambda payload: {"epoch": 1, "state_dict": {"a": torch.zeros(1)}, "recipe": {"model": payload}},
}


@pytest.fixture
def sentinel(tmp_path):
    """A folder that every hostile file of a test would make."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


def old_tar(path: Path, sentinel: Path) -> None:
    """The format of torch 0.1: a tar archive of pickles."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "storages", "tensors", "pickle"):
            content = pickle.dumps(Payload(sentinel))
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", PLACES)
def test_a_checkpoint_runs_nothing_wherever_the_code_is(place, zipped, tmp_path, sentinel):
    path = tmp_path / "x.pth"
    torch.save(PLACES[place](Payload(sentinel)), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="pickled code is never run"):
        read_checkpoint(path)


def test_other_formats_run_nothing(tmp_path, sentinel):
    old_tar(tmp_path / "old.pth", sentinel)
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload(sentinel)))
    write_zip(tmp_path / "zip.pth", {"archive/data.pkl": pickle.dumps(Payload(sentinel)), "archive/version": b"3"})
    for name in ("old.pth", "plain.pth", "zip.pth"):
        with pytest.raises(CheckpointError, match=name):
            read_checkpoint(tmp_path / name)


def test_metadata_of_safetensors_is_text(tmp_path, sentinel):
    text = pickle.dumps(Payload(sentinel), protocol=0).decode()
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors", {"optimizer": text, "epoch": "${oc.env:HOME}"})
    content = read_checkpoint(tmp_path / "x.safetensors")
    assert content["metadata"]["optimizer"] == text
    assert "epoch" not in content


@pytest.mark.parametrize("option", ["--resume", "model.pretrained", "test", "demo", "inspect", "convert"])
def test_every_command_that_reads_weights_refuses_code(option, toy_city, workdir, sentinel, capsys):
    torch.save({"epoch": 1, "state_dict": {"a": Payload(sentinel)}, "optimizer": {}}, "x.pth")
    settings = toy_settings(toy_city, *SMALL)
    recipe = ("--config", "toy/pspnet50", "--trust", SMALL_PACKAGE)
    words = {
        "--resume": ("run", *recipe, "--set", *settings, "--resume", "x.pth"),
        "model.pretrained": (
            "run",
            "--config",
            "toy/pspnet50",
            "--set",
            *toy_settings(toy_city),
            "model.pretrained=x.pth",
        ),
        "test": ("test", *recipe, "--set", *settings, "--checkpoint", "x.pth"),
        "demo": ("demo", *recipe, *(w for s in settings for w in ("--set", s)), "--checkpoint", "x.pth", toy_city),
        "inspect": ("weights", "inspect", "x.pth"),
        "convert": ("weights", "convert", "x.pth", "y.pth"),
    }[option]
    assert catalyst_dl(*words) == 2
    found = capsys.readouterr().err
    assert len(found.splitlines()) == 1
    assert "x.pth: not a checkpoint of tensors and plain values only" in found


def test_loaders_of_other_packages_are_held_to_weights(tmp_path, sentinel, monkeypatch):
    catalyst_loader = pytest.importorskip("catalyst.utils.torch").load_checkpoint
    path = tmp_path / "x.pth"
    torch.save({"state_dict": Payload(sentinel)}, path)
    monkeypatch.setenv(LIFTED, "1")
    with no_pickled_code():
        for load in (catalyst_loader, lambda p: torch.load(p, weights_only=False)):
            with pytest.raises(pickle.UnpicklingError):
                load(str(path))
        with pytest.raises(pickle.UnpicklingError):
            torch.hub.load_state_dict_from_url(path.as_uri(), model_dir=str(tmp_path / "hub"), weights_only=False)
    assert (FORCED not in os.environ, os.environ[LIFTED]) == (True, "1")


def test_timm_reads_no_code(tmp_path, sentinel):
    timm = pytest.importorskip("timm")
    torch.save({"state_dict": Payload(sentinel)}, tmp_path / "x.pth")
    with no_pickled_code(), pytest.raises(Exception, match=r"(?i)weights.only"):
        timm.create_model("resnet18", checkpoint_path=str(tmp_path / "x.pth"))


def test_catalysts_own_checkpoint_callback_reads_no_code(workdir, sentinel, capsys):
    torch.save(Payload(sentinel), "x.pth")
    Path("s.yml").write_text(f"""
model: {{_var_: m, _target_: torch.nn.Linear, in_features: 2, out_features: 2}}
engine: {{_var_: e, _target_: catalyst.dl.CPUEngine}}
runner: {{_var_: r, _target_: catalyst.dl.SupervisedRunner}}
loaders:
  _var_: loaders
  train:
    _target_: torch.utils.data.DataLoader
    dataset: {{_target_: torchvision.datasets.FakeData, size: 4}}
run:
  - _call_: train
    model: {{_var_: m}}
    engine: {{_var_: e}}
    loaders: {{_var_: loaders}}
    logdir: logs
    callbacks:
      load: {{_target_: catalyst.dl.CheckpointCallback, logdir: logs, resume_model: {workdir / "x.pth"}}}
""")
    assert catalyst_dl("run", "--config", "s.yml") == 2
    found = capsys.readouterr().err
    assert found.startswith(
        "catalyst-dl: error: s.yml: run.0 train: a checkpoint of more than tensors and plain values"
    )
    assert len(found.splitlines()) == 1


def test_arrays_of_objects_are_not_read(tmp_path, sentinel):
    objects = np.array([Payload(sentinel)], dtype=object)
    np.savez(tmp_path / "x.npz", matrices=objects, allow_pickle=True)
    with pytest.raises(DataError, match=r"x\.npz is unusable \(matrices: python objects"):
        read_arrays(tmp_path / "x.npz", ["matrices"])


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.npy": npz_header((10**6, 10**6))}, "asks for 8000000000000 bytes, there are 8"),
        ({"a.npy": npz_header((2**62, 4))}, "there are 8"),
        ({"a.npy": npz_header((-1,))}, "asks for -8 bytes"),
        ({"a.npy": npz_header((2,))}, "asks for 16 bytes, there are 8"),
        ({"a.npy": b"\x93NUMPY\x09\x00"}, "version (9, 0)"),
        ({"a.npy": b"text"}, "unusable"),
        ({"b.npy": npz_header((1,))}, "a.npy"),
    ],
)
def test_arrays_that_claim_another_size(tmp_path, members, message):
    path = write_zip(tmp_path / "x.npz", members)
    with pytest.raises(DataError) as error:
        read_arrays(path, ["a"])
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_a_real_file_is_read_as_numpy_reads_it(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.integers(0, 9, (3, 4, 4)),
        "b": np.array(["x", "yy"]),
        "c": np.asfortranarray(rng.random((3, 2))),
    }
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    found = read_arrays(tmp_path / "x.npz", ["a", "b", "c"])
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


# -- the source -----------------------------------------------------------------------------------------------------
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.loads", "marshal.load", "shelve.open", "joblib.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
    "np.load", "numpy.load", "torch.jit.load", "torch.hub.load", "subprocess.call", "subprocess.getoutput",
}  # fmt: skip


def calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}, node.lineno


def test_the_source_has_no_call_that_could_run_a_file():
    files = [path for package in ("semseg_ref", "catalyst_cityscapes") for path in (PROJECT / package).rglob("*.py")]
    assert len(files) > 80
    loads = 0
    for path in files:
        for name, keywords, line in calls(path):
            place = f"{path}, line {line}: {name}"
            assert name not in FORBIDDEN, place
            assert keywords.get("shell") != "True", place
            assert keywords.get("allow_pickle") in (None, "False"), place
            if name == "torch.load":
                loads += 1
                assert keywords.get("weights_only") == "True", place
    assert loads >= 1
