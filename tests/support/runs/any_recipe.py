"""Recipes that are not the reference's, as a user would write them: networks, losses, schedules of anybody's."""

from pathlib import Path
from typing import Any

import yaml

SMP = {"encoder_name": "mobilenet_v2", "encoder_weights": None, "classes": "${data.classes}"}
UNET = {
    "_target_": "segmentation_models_pytorch.Unet",
    "encoder_depth": 3,
    "decoder_channels": [16, 8, 8],
    **SMP,
}
NO_AUX = {"aux_loss": {"weight": 0}}
OWN_FILE = '''
import torch
from torch import nn


class Net(nn.Module):
    """Logits of half the size, and two auxiliary ones of other sizes."""

    align_corners = True

    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, classes, 1)
        self.near = nn.Conv2d(8, classes, 3, 2, 1)
        self.far = nn.Conv2d(8, classes, 3, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        return self.head(x), self.near(x), self.far(x)


class Brier(nn.Module):
    """The squared distance of the probabilities from the label's one."""

    def __init__(self, ignore_index):
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits, target):
        known = target != self.ignore_index
        wanted = nn.functional.one_hot(target * known, logits.shape[1]).movedim(-1, 1)
        return (((logits.softmax(1) - wanted) ** 2).sum(1) * known).sum() / known.sum().clamp(min=1)
'''

OWN = {"_target_": "mine.Net", "classes": "${data.classes}"}
TWO_HEADS = {"aux_loss": {"weight": [0.4, 0.2]}}

CASES: dict[str, dict[str, Any]] = {
    "smp Unet": {"model": UNET, "callbacks": NO_AUX},
    "smp DeepLabV3Plus with an auxiliary head": {
        "model": {
            "_target_": "catalyst_cityscapes.models.with_auxiliary_head",
            "network": {
                "_target_": "segmentation_models_pytorch.DeepLabV3Plus",
                "decoder_channels": 16,
                **SMP,
            },
            "layer": "encoder",
            "index": -2,
            "classes": "${data.classes}",
            "channels": 16,
        },
        "data": {"crop": [48, 64]},
    },
    "torchvision FCN-ResNet50": {
        "model": {
            "_target_": "torchvision.models.segmentation.fcn_resnet50",
            "num_classes": "${data.classes}",
            "aux_loss": True,
            "weights_backbone": None,
        },
        "data": {"crop": [32, 32]},
    },
    "timm backbone": {
        "model": {
            "_target_": "catalyst_cityscapes.models.TimmFCN",
            "backbone": "resnet10t",
            "classes": "${data.classes}",
            "head_channels": 16,
            "aux_channels": 16,
            "output_stride": 8,
        }
    },
    "transformers SegFormer": {
        "model": {
            "_target_": "transformers.SegformerForSemanticSegmentation",
            "config": {
                "_target_": "transformers.SegformerConfig",
                "num_labels": "${data.classes}",
                "hidden_sizes": [8, 8, 16, 16],
                "num_attention_heads": [1, 1, 2, 2],
                "depths": [1, 1, 1, 1],
                "decoder_hidden_size": 16,
            },
        },
        "callbacks": NO_AUX,
    },
    "torch's cosine": {
        "model": OWN,
        "callbacks": {
            **TWO_HEADS,
            "poly_lr": None,
            "cosine": {
                "_target_": "catalyst_cityscapes.callbacks.TorchScheduler",
                "scheduler": {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 4},
                "every": "iteration",
            },
        },
    },
    "AdamW with groups by rule, warm-up and poly": {
        "model": OWN,
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "lr": 1e-3,
            "weight_decay": 0.01,
            "groups": {
                "_target_": "catalyst_cityscapes.optim.groups_by_rule",
                "rules": [{"kind": "norm", "decay_mult": 0}, {"name": ["head.*", "near.*", "far.*"], "lr_mult": 10}],
            },
        },
        "callbacks": {
            **TWO_HEADS,
            "poly_lr": None,
            "rates": {
                "_target_": "catalyst_cityscapes.callbacks.LRSchedule",
                "base_lr": "${optimizer.lr}",
                "phases": [
                    {"_target_": "catalyst_cityscapes.schedules.LinearWarmup", "iterations": 2, "factor": 0.1},
                    {"_target_": "catalyst_cityscapes.schedules.Poly"},
                ],
            },
        },
    },
    "an albumentations Compose": {
        "base": ["toy/pspnet18", "swap/augmentation/albumentations_compose"],
        "model": OWN,
        "callbacks": TWO_HEADS,
    },
    "a torchvision v2 pipeline": {
        "model": OWN,
        "callbacks": TWO_HEADS,
        "augmentation": {
            "_target_": "torchvision.transforms.v2.Compose",
            "transforms": [
                {
                    "_target_": "torchvision.transforms.v2.RandomCrop",
                    "size": [64, 64],
                },
                {"_target_": "torchvision.transforms.v2.RandomHorizontalFlip"},
                {"_target_": "torchvision.transforms.v2.ToDtype", "dtype": "float32", "scale": True},
                {
                    "_target_": "torchvision.transforms.v2.Normalize",
                    "mean": [0.485, 0.456, 0.406],
                    "std": [0.229, 0.224, 0.225],
                },
            ],
        },
    },
    "iterations and mmsegmentation's order": {
        "model": OWN,
        "callbacks": TWO_HEADS,
        "experiment": {"iterations": 4},
        "sampling": {"order": "endless"},
        "validation": {"every": 2},
    },
    "network and loss of a user's file": {
        "model": {"_target_": "mine.Net", "classes": "${data.classes}"},
        "criterion": {"_target_": "mine.Brier", "ignore_index": "${data.ignore_index}"},
        "callbacks": {
            "aux_loss": {
                "weight": [0.4, 0.2],
                "criteria": [None, {"_target_": "torch.nn.CrossEntropyLoss", "ignore_index": "${data.ignore_index}"}],
            }
        },
    },
}

OF_MMSEGMENTATION: dict[str, dict[str, Any]] = {
    f"mmseg/toy/{name}": {
        "base": f"mmseg/toy/{name}",
        "experiment": {"iterations": 2},
        "validation": {"every": 0},
        "data": {"crop": [32, 32]},
        "protocol": {"base_size": [64, 32]},
    }
    for name in ("segformer_b0", "pspnet_r18", "deeplabv3plus_r18", "hrnet_w18s", "ocrnet_w18s", "segnext_t")
}
"""The shipped recipes of mmsegmentation's networks for a CPU, cut down to two steps."""


def write_recipe(name: str, city: Path) -> Path:
    """Writes a case as `my.yml`, and the user's file `mine.py` beside it, into the working folder.

    Args:
        name: of `CASES` or `OF_MMSEGMENTATION`.
        city: folder of the toy city.
    """
    Path("mine.py").write_text(OWN_FILE)
    case = (CASES | OF_MMSEGMENTATION)[name]
    recipe = {
        "base": "toy/pspnet18",
        **case,
        "experiment": {"name": "run", "logdir": "run", **case.get("experiment", {"epochs": 2})},
        "data": {"root": str(city), "crop": [64, 64], **case.get("data", {})},
        "sampling": {"batch_size": 2, "workers": 0, **case.get("sampling", {})},
        "engine": {"device": "cpu", "memory_format": "contiguous"},
        "protocol": case.get("protocol", {"base_size": 64}),
    }
    path = Path("my.yml")
    path.write_text(yaml.safe_dump(recipe))
    return path
