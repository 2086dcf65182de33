"""mmsegmentation's networks as anybody else's: every name, outputs, what they say of themselves, ImageNet files."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from torch import nn

from catalyst_cityscapes.losses import mmseg_loss
from catalyst_cityscapes.models.mmseg import NAMES, build
from catalyst_cityscapes.models.mmseg.pretrained import load_backbone, match_backbone
from catalyst_cityscapes.models.outputs import align_corners_of, resized_for_loss, size_rule_of
from catalyst_cityscapes.models.parts import head_names
from catalyst_cityscapes.recipe.nodes import targets
from semseg_ref.base.errors import CheckpointError, OptionError
from support.golden.mmseg_networks import on_meta

STRIDE_8 = ("pspnet", "segnext")
SAMPLE = ("pspnet_r18", "deeplabv3plus_r101", "hrnet_w18s", "ocrnet_w18s", "segformer_b1", "segnext_s", "segnext_l")
"""Names of each family that have no golden file."""


def parameters(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        # torchvision's, with the deep stem (3 x 3 convolutions to 32, 32 and 64 channels) in place of its own.
        ("pspnet_r18", 11_176_512 - 9_536 + 28_768),
        ("deeplabv3plus_r101", 42_500_160 - 9_536 + 28_768),
        # transformers' SegformerModel of these depths and widths.
        ("segformer_b1", 13_151_424),
        ("segformer_b2", 24_196_288),
        ("segformer_b4", 60_842_688),
        ("segformer_b5", 81_443_008),
    ],
)
def test_a_backbone_without_a_golden_file_has_as_many_parameters_as_elsewhere(name, count):
    assert parameters(on_meta(name).backbone) == count


@pytest.mark.parametrize(("size", "millions"), [("t", 4.3), ("s", 13.9), ("b", 27.6), ("l", 48.9)])
def test_segnext_has_the_papers_sizes(size, millions):
    """Of arXiv 2209.08575, with the decoder, for the 150 classes of ADE20K."""
    assert round(parameters(on_meta(f"segnext_{size}", classes=150)) / 1e6, 1) == millions


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_for_any_number_of_classes(name):
    """The number shows in the classifiers, and nothing else is that wide."""
    network = on_meta(name, classes=7)
    heads = ("decode_head.0", "decode_head.1") if name.startswith("ocrnet") else head_names(network)
    of_classes = [key for key, value in network.state_dict().items() if value.ndim and len(value) == 7]
    assert of_classes == [f"{head}.conv_seg.{kind}" for head in heads for kind in ("weight", "bias")]


@pytest.mark.parametrize("name", SAMPLE)
def test_logits_have_their_stride(name):
    assert name in NAMES
    network = on_meta(name, classes=7)
    x = torch.empty(2, 3, 64, 96, device="meta")
    side = 8 if name.startswith(STRIDE_8) else 4
    heads = 2 if name.startswith(("pspnet", "deeplab", "ocrnet")) else 1

    training, evaluation = network.train()(x), network.eval()(x)
    assert len(training) == heads
    assert len(evaluation) == 1
    assert len(network.all_logits(x)) == heads
    assert training[0].shape == evaluation[0].shape == (2, 7, 64 // side, 96 // side)


def test_they_say_what_training_and_test_must_know():
    psp, hrnet, segnext = on_meta("pspnet_r18"), on_meta("hrnet_w18s"), on_meta("segnext_t")
    assert align_corners_of(psp)
    assert not align_corners_of(hrnet)
    assert not align_corners_of(on_meta("pspnet_r18", align_corners=False))
    assert head_names(psp) == ("decode_head", "auxiliary_head")
    assert head_names(hrnet) == ("decode_head",)
    assert resized_for_loss(psp) == "logits"
    size_rule_of(psp).check(1, "side")
    assert segnext.random_at_test
    assert not hrnet.random_at_test


@pytest.mark.parametrize(("name", "least"), [("segformer_b0", 29), ("segformer_b1", 29), ("hrnet_w18s", 1)])
def test_the_smallest_side_is_the_one_from_which_on_it_runs(name, least):
    network = build(name).eval()
    rule = size_rule_of(network)
    assert rule.least == least
    with torch.no_grad():
        network(torch.zeros(1, 3, least, 40))
        if least > 1:
            with pytest.raises(RuntimeError, match="Kernel size"):
                network(torch.zeros(1, 3, 40, least - 1))
            with pytest.raises(OptionError, match="side 28 is too small for the network; nearest: 29"):
                rule.check(28, "side 28")


def test_segnext_draws_its_bases_from_the_generator_of_the_cpu():
    network = build("segnext_t", head_channels=32).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.manual_seed(1)
        one, other = network(x)[0], network(x)[0]
        torch.manual_seed(1)
        again = network(x)[0]
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert network.decode_head.conv_seg.in_channels == 32


def test_settings_reach_their_layers():
    network = on_meta("segformer_b0", dropout=0.25, drop_path=0.5)
    assert network.decode_head.dropout.p == 0.25
    assert network.backbone.layers[3][1][1].drop_path.p == 0.5
    assert isinstance(on_meta("pspnet_r18", dropout=0).auxiliary_head.dropout, nn.Identity)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("segformer_b9", {}, "segformer_b"),
        ("segformer", {}, "no such network"),
        (3, {}, "no such network: 3"),
        ("segformer_b0", {"classes": 1}, "classes: 1: expected an int of at least 2"),
        ("pspnet_r18", {"drop_path": 0.1}, "pspnet_r18 has none; it takes align_corners, dropout"),
        ("pspnet_r18", {"head_channels": 256}, "head_channels: 256: pspnet_r18 has none"),
        ("segnext_t", {"head_channels": 100}, "nearest: 96"),
        ("segformer_b0", {"dropout": 1.0}, "dropout: 1.0: expected a probability"),
        ("segformer_b0", {"pretrained": True}, "initmodel/README.md says which file"),
        ("segformer_b0", {"drop_path": -0.1}, "drop_path: -0.1: expected a probability"),
    ],
)
def test_refusals_name_the_setting(name, overrides, message):
    with pytest.raises(OptionError, match=message):
        build(name, **overrides)


def test_a_recipe_builds_one():
    node = {
        "_target_": "catalyst_cityscapes.models.mmseg.build",
        "name": "segformer_b0",
        "classes": 5,
        "pretrained": False,
    }
    network = targets.build(node, "model")
    assert network.decode_head.conv_seg.out_channels == 5


def test_losses_carry_their_weight_and_names():
    outputs = (torch.randn(2, 5, 4, 4), torch.randn(2, 5, 2, 2))
    target = torch.randint(0, 5, (2, 8, 8))
    losses = mmseg_loss(outputs, target, (1.0, 0.4), False)
    unweighted = mmseg_loss(outputs, target, (1.0, 1.0), False)
    assert list(losses) == ["decode.loss_ce", "aux.loss_ce"]
    assert losses["aux.loss_ce"] == 0.4 * unweighted["aux.loss_ce"]
    ignored = mmseg_loss(outputs, torch.full((2, 8, 8), 255), (1.0, 0.4), False)
    assert sum(ignored.values()) == 0


def test_ocrnet_s_outputs_carry_the_names_of_its_losses():
    network = build("ocrnet_w18s", classes=np.int64(3))
    x, target = torch.randn(2, 3, 32, 32), torch.randint(0, 3, (2, 32, 32))
    for outputs in (network.train()(x), network.eval().all_logits(x)):
        assert list(mmseg_loss(outputs, target, (1.0, 0.4), False)) == ["decode_1.loss_ce", "decode_0.loss_ce"]
    (main,) = network(x)
    assert list(mmseg_loss(main, target, (1.0,), False)) == ["decode.loss_ce"]


def authors_mit(own):
    """mmsegmentation's entries of a MiT under its authors' names, query apart from key and value."""
    renamed = {}
    for name, value in own.items():
        stage, part, rest = name.removeprefix("layers.").split(".", 2)
        number = int(stage) + 1
        if part == "0":
            key = f"patch_embed{number}.{rest.replace('projection', 'proj')}"
        elif part == "2":
            key = f"norm{number}.{rest}"
        else:
            key = f"block{number}.{rest}"
        key = key.replace("attn.attn.out_proj", "attn.proj").replace("ffn.layers.0", "mlp.fc1")
        key = key.replace("ffn.layers.1", "mlp.dwconv.dwconv").replace("ffn.layers.4", "mlp.fc2")
        if "in_proj_" in key:
            third = len(value) // 3
            renamed[key.replace("attn.in_proj_", "q.")] = value[:third]
            renamed[key.replace("attn.in_proj_", "kv.")] = value[third:]
        else:
            renamed[key] = value[:, :, 0, 0] if "mlp.fc" in key and value.ndim == 4 else value
    return renamed


@pytest.mark.parametrize("layout", ["mmsegmentation", "authors"])
def test_a_backbone_starts_from_a_file(layout, tmp_path):
    source = build("segformer_b0").backbone.state_dict()
    state = {f"layers.{name.removeprefix('layers.')}": value for name, value in source.items()}
    state = authors_mit(state) if layout == "authors" else state
    torch.save({**state, "head.weight": torch.zeros(1000, 256)}, tmp_path / "mit_b0.pth")

    network = build("segformer_b0", pretrained=tmp_path / "mit_b0.pth")
    for name, value in network.backbone.state_dict().items():
        assert torch.equal(value, source[name]), name


def authors_mscan(own):
    return {name.replace(".mlp.dwconv.", ".mlp.dwconv.dwconv."): value for name, value in own.items()}


def authors_hrnet(own):
    """With the layers of the classifier, and as old as HRNet's files are: nothing counts batches."""
    extras = ("incre_modules.0.0.conv1", "downsamp_modules.0.0", "final_layer.0", "classifier")
    kept = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    return {**kept, **{f"{name}.weight": torch.zeros(2) for name in extras}}


@pytest.mark.parametrize(
    ("name", "authors"), [("segnext_t", authors_mscan), ("hrnet_w18s", authors_hrnet)], ids=["MSCAN", "HRNet"]
)
def test_the_authors_own_files_fit(name, authors, tmp_path):
    source = {key: value + 1 for key, value in build(name).backbone.state_dict().items()}
    arguments = Namespace(lr=0.1)  # as trainers keep the command line
    torch.save({"state_dict": authors(source), "args": arguments}, tmp_path / "authors.pth")

    backbone = build(name, pretrained=tmp_path / "authors.pth").backbone
    loaded = backbone.state_dict()
    assert all(torch.equal(loaded[key], source[key]) for key in source if not key.endswith("num_batches_tracked"))
    found = match_backbone(backbone, authors(source))
    assert found.fits
    assert len(found.unused) == (4 if name.startswith("hrnet") else 0)


def test_a_file_that_does_not_fit_is_refused_whole(tmp_path):
    backbone = build("segformer_b0").backbone
    state = dict(backbone.state_dict())
    before = {name: value.clone() for name, value in state.items()}
    del state["layers.3.2.bias"]
    state["layers.3.2.weight"] = torch.zeros(3)
    state["layers.9.weight"] = torch.zeros(3)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError) as raised:
        load_backbone(backbone, tmp_path / "other.pth")
    for part in (
        "1 missing: layers.3.2.bias",
        "1 unknown: layers.9.weight",
        "layers.3.2.weight (3,) instead of (256,)",
    ):
        assert part in str(raised.value)
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    with pytest.raises(CheckpointError, match=r"missing\.pth: no such file"):
        build("segformer_b0", pretrained=tmp_path / "missing.pth")
