"""Weight files of every kind for the tests, and the command line to read them with."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from semseg_ref.model import PSANet, PSPNet, resnet50
from support.command_line import dl

RECIPE = "cityscapes/pspnet50"


def hollow(model: nn.Module) -> dict[str, Tensor]:
    """Names and shapes of a network made on the meta device, one number in each tensor: files of a few 100 kB."""
    state = {}
    for index, (name, value) in enumerate(model.state_dict().items()):
        start = 0 if value.dtype == torch.int64 else 0.01 + index * 1e-5
        number = torch.tensor(start, dtype=value.dtype, device="cpu")
        state[name] = number.expand(value.shape)
    return state


def psp(**changes: object) -> dict[str, Tensor]:
    with torch.device("meta"):
        return hollow(PSPNet(**{"layers": 50, "classes": 19, "pretrained": False, **changes}))


def psa() -> dict[str, Tensor]:
    with torch.device("meta"):
        return hollow(PSANet(layers=50, classes=19, mask_h=89, mask_w=89, pretrained=False))


def resnet(make=resnet50, **changes: object) -> dict[str, Tensor]:
    with torch.device("meta"):
        return hollow(make(**changes))


def torchvision_resnet50() -> nn.Module:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(3)
    return torchvision.models.resnet50(weights=None)


def prefixed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in state.items()}


def catalyst_2020(state: dict[str, Tensor]) -> dict:
    """What Catalyst 20.06 wrote with `OneCycleLRWithWarmup`: numpy scalars as metrics, numpy arrays as the schedule."""
    return {
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": np.float64(0.01), "params": [0]}]},
        "scheduler_state_dict": {"learning_rates": np.linspace(0.001, 0.01, 7), "lr_range": (0.01, 0.0001)},
        "epoch_metrics": {"train_loss": np.float32(0.25)},
        "valid_metrics": {"LCEend": np.float64(0.5)},
        "checkpoint_data": {},
        "stage": "stage1",
        "epoch": 180,
    }


def run(*arguments: object) -> tuple[int, str, str]:
    result = dl("weights", *arguments)
    return result.exit_code, result.stdout, result.stderr


def refusal(*arguments: object) -> str:
    """The one line of a refused command."""
    code, _, err = run(*arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    return err


def rows(output: str) -> dict[str, str]:
    return {line[:11].strip(): line[11:] for line in output.splitlines()}


@pytest.fixture(scope="module")
def from_torchvision(tmp_path_factory):
    """torchvision's ResNet-50, its file, and our PSPNet that starts from it."""
    theirs = torchvision_resnet50().eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):  # fresh statistics of 0 and 1 would hide a mix-up
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    path = tmp_path_factory.mktemp("torchvision") / "resnet50-0676ba61.pth"
    torch.save(theirs.state_dict(), path)
    ours = PSPNet(layers=50, classes=5, stem="torchvision", pretrained=path).eval()
    return theirs, path, ours


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A whole PSPNet-50 as an official checkpoint of its real size."""
    torch.manual_seed(1)
    model = PSPNet(layers=50, classes=19, pretrained=False)
    path = tmp_path_factory.mktemp("official") / "train_epoch_7.pth"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    torch.save({"epoch": 7, "state_dict": prefixed(model.state_dict()), "optimizer": optimizer.state_dict()}, path)
    return path


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)
