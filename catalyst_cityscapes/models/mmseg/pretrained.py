"""A backbone's ImageNet weights from a file, all of them or none (mmsegmentation 1.2.2)."""

import re
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from semseg_ref.base.checkpoints.plain_parts import read_plain_parts
from semseg_ref.base.checkpoints.state_dict import Match, match, weights_in
from semseg_ref.base.errors import CheckpointError

CLASSIFIER = ("fc.", "head.", "classifier.", "incre_modules.", "downsamp_modules.", "final_layer.")
"""What ImageNet's classifiers are called in these files; a backbone has none. The last four are HRNet's authors'."""
MIT_NAMES = (
    (re.compile(r"^patch_embed(\d)\.proj\."), ".0.projection."),
    (re.compile(r"^patch_embed(\d)\.norm\."), ".0.norm."),
    (re.compile(r"^block(\d)\."), ".1."),
    (re.compile(r"^norm(\d)\."), ".2."),
)
MIT_PARTS = (
    (".attn.proj.", ".attn.attn.out_proj."),
    (".mlp.fc1.", ".ffn.layers.0."),
    (".mlp.dwconv.dwconv.", ".ffn.layers.1."),
    (".mlp.fc2.", ".ffn.layers.4."),
)
"""Parts of names in the MiT authors' files and in mmsegmentation's."""
MSCAN_DEPTHWISE = (".mlp.dwconv.dwconv.", ".mlp.dwconv.")
"""The one name that differs between the MSCAN authors' files and mmsegmentation's."""


def load_backbone(backbone: nn.Module, path: str | Path) -> None:
    """Fills a backbone from a file in mmsegmentation's names, or the authors' of MiT, MSCAN or HRNet.

    mmsegmentation loads what fits and warns of the rest; here a missing, unknown or misshapen entry is an error. The
    file's classifier, and objects beside the weights, are left out.

    Args:
        backbone: unchanged where the file does not fit.
        path: a state dict of torch.save or safetensors, also one under `state_dict`.

    Raises:
        CheckpointError: see above; the message names the first entries.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"pretrained: {path}: no such file; see initmodel/README.md for where to get it")
    state = _backbone_entries(weights_in(read_plain_parts(path)[0], path))
    own = backbone.state_dict()
    # Files from before torch 0.4.1 do not count batches.
    missing = [name for name in own if name not in state and not name.endswith(".num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    misshapen = [
        f"{name} {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and value.shape != own[name].shape
    ]
    faults = [
        f"{len(names)} {what}: {', '.join(names[:3])}"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", misshapen))
        if names
    ]
    if faults:
        raise CheckpointError(f"pretrained: {path}: not the weights of this backbone; {'; '.join(faults)}")
    backbone.load_state_dict({**own, **state})


def match_backbone(backbone: nn.Module, weights: dict[str, Tensor]) -> Match:
    """Compares a file's entries with a backbone's as `load_backbone` does, and loads nothing."""
    result = match(backbone.state_dict(), _backbone_entries(weights))
    return replace(
        result,
        missing=[name for name in result.missing if not name.endswith(".num_batches_tracked")],
        unused=[name for name in weights if name.startswith(CLASSIFIER)],
    )


def _backbone_entries(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {name: value for name, value in weights.items() if not name.startswith(CLASSIFIER)}
    if any(".attn.kv." in name for name in state):
        return from_mit_authors(state)
    return {name.replace(*MSCAN_DEPTHWISE): value for name, value in state.items()}


def from_mit_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """mmsegmentation's names for a MiT of its authors: query, key and value packed, linear layers as 1x1 convolutions.

    Args:
        state: names like `block1.0.attn.q.weight`.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        own = name
        for pattern, part in MIT_NAMES:
            own = pattern.sub(lambda match, part=part: f"layers.{int(match[1]) - 1}{part}", own)
        if ".attn.kv." in own:
            continue
        if ".attn.q." in own:
            value = torch.cat([value, state[name.replace(".attn.q.", ".attn.kv.")]])
            own = own.replace(".attn.q.", ".attn.attn.in_proj_")
        for theirs, ours in MIT_PARTS:
            own = own.replace(theirs, ours)
        if re.search(r"\.ffn\.layers\.[04]\.weight$", own):
            value = value[:, :, None, None]
        renamed[own] = value
    return renamed
