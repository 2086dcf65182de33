"""Seeded inputs, images, labels and weights of the golden files, and the loader of the files themselves.

The golden files in `tests/goldens` hold numbers that the reference (hszhao/semseg) produced. Only its outputs are
stored; what it was fed is rebuilt here from a seed. The draws, and the order in which they are made, are therefore part
of the golden files' format: a changed line here invalidates them.
"""

import hashlib
import json
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from support.places import GOLDENS

IGNORE_INDEX = 255
MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]
STD = [0.229 * 255, 0.224 * 255, 0.225 * 255]


def load_golden(name: str) -> dict[str, Any]:
    """Read one golden file.

    Args:
        name: file name in `tests/goldens`, with or without its ending: `psamask`, `psamask.npz`, `keys_pspnet50`.

    Returns:
        `.json`: the table. `.npz`: every array under its name (0-d arrays stay arrays), with `meta` parsed from JSON.

    Raises:
        FileNotFoundError: no such file.
    """
    path = GOLDENS / name
    if path.suffix not in (".npz", ".json"):
        path = next((p for p in (GOLDENS / f"{name}.npz", GOLDENS / f"{name}.json") if p.exists()), path)
    if path.suffix == ".json":
        return json.loads(path.read_text())
    with np.load(path) as archive:
        golden: dict[str, Any] = {key: archive[key] for key in archive.files}
    if "meta" in golden:
        golden["meta"] = json.loads(str(golden["meta"]))
    return golden


def sha256(array: np.ndarray) -> str:
    """Digest of the raw C-contiguous bytes, as the golden files' `*sha256` entries state it."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def rec_input(seed: int, shape: Sequence[int]) -> np.ndarray:
    """Network input: standard normal, float32 of `shape` (usually [N, 3, H, W])."""
    return np.random.default_rng(seed).standard_normal(tuple(shape)).astype(np.float32)


def _blocks(cells: np.ndarray, block: int, height: int, width: int) -> np.ndarray:
    """Enlarge each cell to `block` x `block` pixels and cut to [height, width, ...]."""
    return cells.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]


def rec_image(seed: int, h: int, w: int) -> np.ndarray:
    """Image: 16 x 16 blocks of one colour plus integer noise of +-24; uint8 [h, w, 3], RGB."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (-(-h // 16), -(-w // 16), 3))
    noise = rng.integers(-24, 25, (h, w, 3))
    return (_blocks(colours, 16, h, w) + noise).clip(0, 255).astype(np.uint8)


def rec_label(seed: int, h: int, w: int, classes: int, block: int = 12) -> np.ndarray:
    """Label: blocks of class indices, a tenth of the blocks and a hundredth of the pixels 255; uint8 [h, w]."""
    rng = np.random.default_rng(seed)
    cells = (-(-h // block), -(-w // block))
    label = rng.integers(0, classes, cells)
    label[rng.random(cells) < 0.10] = IGNORE_INDEX
    label = _blocks(label, block, h, w)
    label[rng.random((h, w)) < 0.01] = IGNORE_INDEX
    return label.astype(np.uint8)


def rec_weight(key: str, shape: Sequence[int], bn3_scale: float = 0.3) -> np.ndarray:
    """One state_dict entry, seeded by its name.

    Args:
        key: the reference's name of the entry, without a leading `module.`.
        shape: shape of the entry.
        bn3_scale: factor on the last batch norm of each residual block; it keeps the residual sum small.

    Returns:
        float32 of `shape`; int64 zeros for `num_batches_tracked`.
    """
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape))
    if key.endswith("running_var"):
        value = 1 + 0.1 * np.abs(noise)
    elif key.endswith(("running_mean", "bias")):
        value = 0.1 * noise
    elif len(shape) > 1:
        value = noise * np.sqrt(2.0 / int(np.prod(shape[1:])))
    else:
        value = 1 + 0.1 * noise
        if re.match(r"^layer[1-4]\.\d+\.bn3\.weight$", key):
            value = value * bn3_scale
    return value.astype(np.float32)


def fill_weights(model: nn.Module, bn3_scale: float = 0.3) -> nn.Module:
    """Give every state_dict entry of `model` its `rec_weight`; returns the same module.

    A leading `module.` (DistributedDataParallel, DataParallel) is left out of the seeding name.
    """
    state = {
        key: torch.from_numpy(rec_weight(key.removeprefix("module."), tuple(value.shape), bn3_scale))
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state, strict=True)
    return model


def layout(model: nn.Module) -> list[list]:
    """`[name, shape, dtype]` of every state_dict entry in order, as the `keys_*` files list them."""
    return [[k, list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in model.state_dict().items()]


def golden_input(meta: dict[str, Any]) -> Tensor:
    """The network input that a `forward*` file's `meta` names; float32 [N, 3, H, W]."""
    return torch.from_numpy(rec_input(meta["input_seed"], meta["input_shape"]))


GOLDEN_THREADS = int(os.environ.get("GOLDEN_THREADS", "1"))
"""One, as the golden files were made, or as many as tool/every_cpu.py asks for."""


def _on_the_goldens_machine() -> bool:
    """Another family of EPYC has other caches, and oneDNN cuts its sums by them."""
    cpu = Path("/proc/cpuinfo")
    return (
        torch.__version__.split("+")[0] == "2.11.0"
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and not {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"} & set(os.environ)
        and GOLDEN_THREADS == 1
        and cpu.exists()
        and re.search(r"cpu family\s*: 26\nmodel\s*: \d+\nmodel name\s*: AMD EPYC", cpu.read_text()) is not None
    )


needs_the_goldens_machine = pytest.mark.skipif(
    not _on_the_goldens_machine(),
    reason="the last bit needs the golden files' torch release, CPU family, instruction sets and number of threads",
)
