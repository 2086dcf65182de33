"""Checkpoints with objects beside the tensors: those are left out by name, and nothing of a file is ever run."""

import contextlib
import os
import pickle
from collections import OrderedDict, defaultdict, deque
from pathlib import Path

import numpy as np
import pytest
import torch

from semseg_ref.base.checkpoints.plain_parts import read_plain_parts
from semseg_ref.base.checkpoints.reading import RefusedPickleError, read_checkpoint
from semseg_ref.base.errors import CheckpointError
from semseg_ref.base.safe.unpickling import one_pickle


class RunsCommand:
    """Unpickling it runs a command of the shell."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


class History:
    """As frameworks keep metrics: arrays and functions of its own."""

    def __init__(self) -> None:
        self.values = np.arange(3)
        self.reduce = {"mean": History.mean}

    @classmethod
    def mean(cls) -> None: ...

    class Inner: ...


class OwnDict(dict): ...


class OwnList(list): ...


WEIGHTS = {
    "strided": torch.arange(6.0).reshape(2, 3).t(),
    "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "brain": torch.tensor([0.1], dtype=torch.bfloat16),
    "number": torch.tensor(7),
    "empty": torch.empty(0, 3),
    "parameter": torch.nn.Parameter(torch.ones(2)),
}


def content(marker: Path) -> dict:
    state = OrderedDict(WEIGHTS)
    state["shared"] = state["strided"][1:]
    state._metadata = {"": {"version": 1}}
    return {
        "meta": {"iter": np.int64(3), "classes": ("road", "sky"), "when": RunsCommand(marker), "kinds": {1, 2}},
        "state_dict": state,
        "hub": {
            "loss": History(),
            "dict": OwnDict(a=1),
            "list": OwnList([1]),
            "inner": History.Inner(),
            "queue": deque([1]),
            "path": Path("x"),
            "objects": np.array([1, "a"], dtype=object),
            "scalars": defaultdict(list, a=[1]),
        },
        "schedulers": [{"lr": 0.1, "owner": RunsCommand(marker)}],
        "evil": [RunsCommand(marker)],
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tensors_and_plain_values_are_taken_and_the_rest_is_named(tmp_path, zipped, protocol):
    marker, path = tmp_path / "marker", tmp_path / "x.pth"
    written = content(marker)
    torch.save(written, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(RefusedPickleError, match="pickled code is never run; catalyst-dl weights convert takes"):
        read_checkpoint(path)
    read, left_out = read_plain_parts(path)
    assert not marker.exists()
    for name, value in written["state_dict"].items():
        assert read["state_dict"][name].dtype == value.dtype
        assert torch.equal(read["state_dict"][name], value.detach()), name
    assert read["meta"] == {"iter": 3, "classes": ("road", "sky"), "kinds": {1, 2}}
    assert read["hub"] == {"scalars": {"a": [1]}}
    assert read["schedulers"] == [{"lr": 0.1}]
    assert "evil" not in read
    command = f"{os.system.__module__}.system"
    assert {name: left_out[name] for name in ("meta.when", "schedulers.owner", "evil")} == {
        "meta.when": command,
        "schedulers.owner": command,
        "evil": command,
    }
    assert left_out["hub.loss"] == f"{__name__}.History"
    assert {name.partition(".")[2] for name in left_out if name.startswith("hub.")} == {*written["hub"]} - {"scalars"}


@pytest.mark.parametrize(
    "hostile",
    [
        lambda evil: {"state_dict": {"a": torch.zeros(1), "b": evil}},
        lambda evil: {"a": torch.zeros(1), "b": evil},
        lambda evil: [evil],
        lambda evil: evil,
    ],
    ids=["in state_dict", "in a bare state dict", "a list", "the whole file"],
)
def test_an_object_among_the_weights_is_refused_by_name(tmp_path, hostile):
    marker, path = tmp_path / "marker", tmp_path / "x.pth"
    torch.save(hostile(RunsCommand(marker)), path)
    with pytest.raises(CheckpointError, match=r"x\.pth: .*asks for \w+\.system\); pickled code is never run$"):
        read_plain_parts(path)
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_and_changed_files_give_one_error(tmp_path, zipped):
    whole, path = tmp_path / "whole.pth", tmp_path / "x.pth"
    torch.save(content(tmp_path / "marker"), whole, _use_new_zipfile_serialization=zipped)
    data, rng = whole.read_bytes(), np.random.RandomState(0)
    for share in np.linspace(0.02, 0.99, 12):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CheckpointError, match=r"x\.pth: "):
            read_plain_parts(path)
    for _ in range(100):
        changed = bytearray(data)
        for position in rng.randint(0, len(data), 4):
            changed[position] = rng.randint(256)
        path.write_bytes(changed)
        with contextlib.suppress(CheckpointError):
            read_plain_parts(path)
    assert not (tmp_path / "marker").exists()


class Program:
    """Pickles as a given program."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.parts = function, arguments

    def __reduce__(self) -> tuple:
        return self.parts


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    beyond = Program(torch._utils._rebuild_tensor_v2, torch.ones(2).untyped_storage(), 0, (9,), (1,), False, {})
    torch.save({"state_dict": {"a": beyond}, "hub": OwnList()}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"x\.pth: "):
        read_plain_parts(tmp_path / "x.pth")


def test_nothing_of_the_reader_itself_can_be_changed_by_a_file(tmp_path):
    """A pickle can also set attributes: of the function that it names, for one."""
    bad = pickle.PROTO + b"\x02" + b"ctorch._utils\n_rebuild_tensor_v2\n" + b"}U\x01aK\x01sb."
    path = tmp_path / "x.pth"
    torch.save({"state_dict": {"a": torch.ones(1)}, "hub": OwnList()}, path, _use_new_zipfile_serialization=False)
    head = path.read_bytes()
    with path.open("rb") as file:
        skipped = sum(len(one_pickle(file)) for _ in range(3))
    path.write_bytes(head[:skipped] + bad)
    with pytest.raises(CheckpointError, match="state for a function"):
        read_plain_parts(path)


def test_memory_is_not_taken_before_it_is_there(tmp_path):
    bomb = b"\x80\x02}r\xff\xff\xff\x7f."
    (tmp_path / "x").write_bytes(bomb)
    with (tmp_path / "x").open("rb") as file, pytest.raises(pickle.UnpicklingError, match="more objects than it has"):
        one_pickle(file)


def test_a_value_that_holds_itself_or_is_shared_a_million_times(tmp_path):
    loop: list = [OwnList()]
    loop.append(loop)
    shared: list = [1]
    for _ in range(60):
        shared = [shared, shared]
    torch.save({"state_dict": {"a": torch.ones(1)}, "hub": OwnList(), "shared": shared}, tmp_path / "x.pth")
    assert read_plain_parts(tmp_path / "x.pth")[1] == {"hub": f"{__name__}.OwnList"}
    torch.save({"state_dict": {"a": torch.ones(1)}, "loop": loop[1]}, tmp_path / "y.pth")
    read, left_out = read_plain_parts(tmp_path / "y.pth")
    assert left_out["loop"] == f"{__name__}.OwnList"
    assert "loop" not in read
