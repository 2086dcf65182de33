"""Networks as the training loop sees them: (main, aux) logits, the reference's keys, groups for the optimizer."""

import sys

import pytest
import torch
from torch import nn

from catalyst_cityscapes.models import PSANetLogits, PSPNetLogits, SmpPSPNet
from semseg_ref.base.errors import InputError
from semseg_ref.model.psanet import PSANet
from semseg_ref.model.pspnet import PSPNet
from support.golden.inputs import fill_weights, load_golden, rec_input

PSA = {"mask_h": 5, "mask_w": 5, "shrink_factor": 2}
PAIRS = {"psp": (PSPNetLogits, PSPNet, {}), "psa": (PSANetLogits, PSANet, PSA)}


@pytest.fixture(scope="module", params=PAIRS)
def pair(request):
    """The adapter and the reference's network with the same weights, no dropout."""
    adapter, official, extra = PAIRS[request.param]
    ours = adapter(classes=5, dropout=0.0, pretrained=False, **extra)
    theirs = official(classes=5, dropout=0.0, pretrained=False, **extra)
    fill_weights(ours)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    return ours, theirs


def test_same_keys_in_the_same_order(pair):
    ours, theirs = pair
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]


def test_eval_gives_the_reference_logits_and_no_aux(pair):
    ours, theirs = (model.eval() for model in pair)
    x = torch.from_numpy(rec_input(1, (2, 3, 65, 65)))
    with torch.no_grad():
        main, aux = ours(x)
        assert aux is None
        assert main.shape == (2, 5, 65, 65)
        assert torch.equal(main, theirs(x))


def test_losses_outside_are_the_losses_inside(pair):
    ours, theirs = (model.train() for model in pair)
    x = torch.from_numpy(rec_input(2, (2, 3, 65, 65)))
    target = torch.randint(0, 5, (2, 65, 65), generator=torch.Generator().manual_seed(0))
    target[:, :9] = 255
    criterion = nn.CrossEntropyLoss(ignore_index=255)
    main, aux = ours(x)
    assert aux.shape == main.shape == (2, 5, 65, 65)
    predicted, main_loss, aux_loss = theirs(x, target)
    assert torch.equal(main.argmax(1), predicted)
    assert criterion(main, target).item() == main_loss.item()
    assert criterion(aux, target).item() == aux_loss.item()


@pytest.mark.parametrize("name", PAIRS)
def test_parameter_groups_are_the_references(name):
    adapter, _, extra = PAIRS[name]
    model = adapter(classes=19, pretrained=False, **extra)
    golden = load_golden(f"groups_{name}net50")
    spec = model.parameter_groups_spec
    assert [name for name, _ in spec] == [group["module"] for group in golden["groups"]]
    assert [name for name, _ in model.named_children()] == [name for name, _ in spec]
    assert [10 if head else 1 for _, head in spec] == [group["lr_mult"] for group in golden["groups"]]
    for (child, _), group in zip(spec, golden["groups"], strict=True):
        assert [f"{child}.{n}" for n, _ in getattr(model, child).named_parameters()] == group["params"]


def test_without_context_module_its_group_is_gone():
    model = PSPNetLogits(classes=5, use_ppm=False, pretrained=False)
    assert model.head_names == ("cls", "aux")
    assert model.backbone_names == ("layer0", "layer1", "layer2", "layer3", "layer4")


@pytest.fixture
def _smp():
    pytest.importorskip("segmentation_models_pytorch")


@pytest.mark.usefixtures("_smp")
@pytest.mark.parametrize("size", [65, 96])
def test_smp_forward_and_backward(size):
    torch.manual_seed(0)
    model = SmpPSPNet(classes=5, encoder="resnet18").train()
    x = torch.from_numpy(rec_input(3, (2, 3, size, size)))
    main, aux = model(x)
    assert main.shape == aux.shape == (2, 5, size, size)
    target = torch.randint(0, 5, (2, size, size))
    loss = nn.functional.cross_entropy(main, target) + 0.4 * nn.functional.cross_entropy(aux, target)
    loss.backward()
    # A parameter without a gradient (a layer beyond the encoder's depth) would stop DistributedDataParallel.
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        main, aux = model.eval()(x)
    assert main.shape == (2, 5, size, size)
    assert aux is None


@pytest.mark.usefixtures("_smp")
def test_smp_dilated_encoder_is_the_references_stride():
    model = SmpPSPNet(classes=5, encoder="resnet50", encoder_depth=5, output_stride=8).eval()
    x = torch.zeros(1, 3, 65, 65)
    with torch.no_grad():
        features = model.encoder(x)
    assert [tuple(f.shape[1:]) for f in features[-2:]] == [(1024, 9, 9), (2048, 9, 9)]
    assert model.aux[0].in_channels == 1024


@pytest.mark.usefixtures("_smp")
def test_smp_group_names_cover_every_parameter_once():
    model = SmpPSPNet(classes=5, encoder="resnet18")
    assert model.parameter_groups_spec == (
        ("encoder", False),
        ("decoder", True),
        ("segmentation_head", True),
        ("aux", True),
    )
    grouped = [p for name, _ in model.parameter_groups_spec for p in getattr(model, name).parameters()]
    assert [id(p) for p in grouped] == [id(p) for p in model.parameters()]


@pytest.mark.usefixtures("_smp")
def test_smp_encoder_of_another_family_and_without_unused_stages():
    light = SmpPSPNet(classes=5, encoder="resnet50")
    assert not [name for name, _ in light.encoder.named_parameters() if name.startswith(("layer3", "layer4"))]
    model = SmpPSPNet(classes=5, encoder="tu-mobilenetv3_small_050", encoder_depth=4)
    main, aux = model(torch.zeros(2, 3, 65, 65))
    (main.sum() + aux.sum()).backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.mark.usefixtures("_smp")
def test_smp_aux_head_sits_on_the_stage_before_the_last():
    model = SmpPSPNet(classes=5, encoder="resnet50", aux_channels=32)
    assert model.aux[0].in_channels == model.encoder.out_channels[-2] == 256
    assert model.aux[0].out_channels == 32


@pytest.mark.usefixtures("_smp")
def test_smp_says_what_is_wrong(monkeypatch):
    with pytest.raises(InputError, match="did you mean 'resnet50'"):
        SmpPSPNet(encoder="resnet5O")
    with pytest.raises(InputError, match="encoder_depth=2"):
        SmpPSPNet(encoder_depth=2)
    with pytest.raises(InputError, match="output_stride=4"):
        SmpPSPNet(output_stride=4)
    with pytest.raises(InputError, match="expected at least 2"):
        SmpPSPNet(classes=1)

    def unreachable(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("segmentation_models_pytorch.encoders.hf_hub_download", unreachable)
    with pytest.raises(InputError, match=r"need the network.*encoder_weights to null"):
        SmpPSPNet(encoder="resnet18", encoder_weights="imagenet")
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(InputError, match=r"pip install 'catalyst-cityscapes\[zoo\]'"):
        SmpPSPNet()
