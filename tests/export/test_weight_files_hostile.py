"""Files that are not what they should be: one line each, and no code is ever run."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from catalyst_cityscapes.export.weights import fit_recipe, read_weight_file
from catalyst_cityscapes.models.from_recipe import recipe_network
from catalyst_cityscapes.recipe.loading import load_recipe
from semseg_ref.base.checkpoints.state_dict import read_checkpoint, weights_in
from semseg_ref.base.errors import CheckpointError
from support.weight_files import RECIPE, catalyst_2020, prefixed, psp, refusal


class Payload:
    """Unpickling it would create a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_pickled_code_never_runs(tmp_path, zipped, name):
    marker, path = tmp_path / "marker", tmp_path / name
    torch.save({"state_dict": {"a": Payload(marker)}}, path, _use_new_zipfile_serialization=zipped)
    for command in (
        ("inspect", path),
        ("inspect", path, "--config", RECIPE),
        ("convert", path, tmp_path / "y.pth"),
        ("verify", path, "--config", RECIPE),
    ):
        message = refusal(*command)
        assert str(path) in message
        assert "asks for posix.mkdir); pickled code is never run" in message
    assert not marker.exists()
    assert not (tmp_path / "y.pth").exists()
    torch.load(path, weights_only=False)
    assert marker.exists()  # so the file was hostile indeed


@pytest.mark.parametrize("state", [("|", "O"), ("<", "V8"), ("<", "M8")])
def test_numpy_arrays_of_other_than_numbers_are_refused(tmp_path, state):
    array = {"O": np.array([1, "a"], dtype=object), "V8": np.zeros(1, "V8"), "M8": np.zeros(1, "M8[s]")}[state[1]]
    torch.save({"state_dict": {"a": array}}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="pickled code is never run"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"epoch 3\n", "not a checkpoint of tensors and plain values, but a text file"),
        (b"<!DOCTYPE html><html>Google Drive - Virus scan warning", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "a Git LFS pointer"),
        (b"\x89PNG\r\n\x1a\n\0\0", "some other file (it starts with the bytes 89 50 4e 47)"),
        (b"PK\x03\x04 cut", "damaged, or no torch checkpoint"),
        (b"\x80\x02}q\x00.", "damaged, or no torch checkpoint"),
        (b"\x10\0\0\0\0\0\0\0{}", "damaged, or no safetensors file"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    found = refusal("inspect", path)
    assert f"error: {path}: " in found
    assert message in found


def test_folders_and_missing_files(tmp_path):
    (tmp_path / "good.safetensors").touch()
    assert f"{tmp_path}: is a folder, expected a checkpoint file; in {tmp_path}: good.safetensors" in refusal(
        "inspect", tmp_path
    )
    assert f"x.pth: no such checkpoint; in {tmp_path}: good.safetensors" in refusal("inspect", tmp_path / "x.pth")
    assert "there is no folder" in refusal("convert", tmp_path / "no" / "x.pth", tmp_path / "y.pth")


@pytest.mark.parametrize("kind", ["zip", "pickle", "safetensors"])
def test_truncated_files(tmp_path, kind):
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / "cut.pth"
    state = {f"layer.{i}": torch.randn(50) for i in range(8)}
    if kind == "safetensors":
        save_file(state, whole)
    else:
        torch.save({"epoch": 1, "state_dict": state}, whole, _use_new_zipfile_serialization=kind == "zip")
    data = whole.read_bytes()
    assert weights_in(read_checkpoint(whole)).keys() == state.keys()
    for share in np.linspace(0.02, 0.999, 25):
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CheckpointError, match=r"cut\.pth: "):
            read_checkpoint(cut)
    assert f"error: {cut}: damaged" in refusal("inspect", cut)


def test_flipped_bytes_give_a_message_or_weights_but_no_other_error(tmp_path):
    whole, path = tmp_path / "whole.pth", tmp_path / "x.pth"
    torch.save(catalyst_2020({"a": torch.zeros(3)}), whole, _use_new_zipfile_serialization=False)
    data, rng = whole.read_bytes(), np.random.RandomState(0)
    refused = 0
    for _ in range(300):
        changed = bytearray(data)
        for position in rng.randint(0, len(data), 3):
            changed[position] = rng.randint(256)
        path.write_bytes(changed)
        try:
            weights_in(read_checkpoint(path), path)
        except CheckpointError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 1}, {"state_dict": {}}, {1: torch.zeros(1)}])
def test_files_without_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "x.pth")
    assert "x.pth: holds no state dict" in refusal("inspect", tmp_path / "x.pth")


def test_names_of_which_only_some_have_the_prefix(tmp_path):
    state = psp()
    mixed = {**dict(list(prefixed(state).items())[:9]), **dict(list(state.items())[9:])}
    torch.save({"state_dict": mixed}, tmp_path / "x.pth")
    assert "9 of 370 names start with 'module.', the others do not" in refusal("inspect", tmp_path / "x.pth")
    torch.save({"state_dict": prefixed(prefixed(state))}, tmp_path / "y.pth")
    assert read_weight_file(tmp_path / "y.pth").completeness.fits


@pytest.mark.parametrize("value", [torch.zeros(2, device="meta"), torch.zeros(2).to_sparse()])
def test_tensors_that_are_not_plain_are_refused(tmp_path, value):
    torch.save({"state_dict": {"a": torch.zeros(1), "b": value}}, tmp_path / "x.pth")
    assert "x.pth: b is no plain tensor" in refusal("inspect", tmp_path / "x.pth")


def test_integers_in_the_place_of_weights_do_not_fit(tmp_path):
    state = psp()
    state["cls.4.bias"] = torch.zeros(19, dtype=torch.int64)
    state["aux.4.bias"] = torch.zeros(19, dtype=torch.float16)
    torch.save(state, tmp_path / "x.pth")
    fit = fit_recipe(read_weight_file(tmp_path / "x.pth"), recipe_network(load_recipe([RECIPE])))
    assert fit.match.differing == {"cls.4.bias": "torch.int64 instead of torch.float32"}


def test_safetensors_whose_header_length_looks_like_a_pickle(tmp_path):
    path = tmp_path / "x.safetensors"
    for padding in range(700):
        save_file({"a": torch.zeros(2)}, path, {"note": "x" * padding})
        if path.read_bytes()[:2] == b"\x80\x02":  # a header of 640 bytes
            break
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert torch.equal(read_checkpoint(path)["state_dict"]["a"], torch.zeros(2))


def test_without_the_safetensors_package_only_its_files_are_refused(tmp_path, monkeypatch):
    save_file({"a": torch.zeros(2)}, tmp_path / "x.safetensors")
    torch.save({"a": torch.zeros(2)}, tmp_path / "x.pth")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "a" in read_checkpoint(tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.safetensors: reading it needs `pip install safetensors`"):
        read_checkpoint(tmp_path / "x.safetensors")
