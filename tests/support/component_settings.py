"""One table of the training components: what switches each on, what it may change, and what the training keeps.

`test_components.py` drives the generic tests over its rows: trains, resumes, serialises, swaps, has a method card.
"""

from dataclasses import dataclass
from typing import Any, Literal

from catalyst_cityscapes.recipe.loading import load_layers
from support.runs.toy import SMALL

Claim = Literal["bitwise", "statistical", "recipe"]
"""What the training keeps of the reference recipe's: the same weights bit by bit; the same distributions or arithmetic
up to rounding; or nothing, being another recipe (then the weights must differ, or the switch does nothing)."""

CALLBACKS = "catalyst_cityscapes.callbacks"
LOSSES = "catalyst_cityscapes.losses"
NO_RECIPES = ("swap", "ladders")
"""Folders of catalyst_cityscapes/configs whose files are overlays and plans of ladders, not whole recipes."""
VALIDATED = {"validation": {"every": 1}}


@dataclass(frozen=True)
class ComponentSetting:
    """A row.

    Attributes:
        name: of the row.
        card: method card in docs/components, without `.md`.
        overlay: laid on the toy recipe of a small network.
        changes: key paths that it may change, with all below them.
        claim: see `Claim`.
        settings: the network and whatever else both sides of the comparison need.
        resumes: whether a resumed training ends with the same bits.
    """

    name: str
    card: str
    overlay: dict[str, Any]
    changes: tuple[str, ...]
    claim: Claim
    settings: tuple[str, ...] = SMALL
    resumes: bool = True


def callback(name: str, target: str = "", **arguments: Any) -> dict[str, Any]:
    """Overlay that adds a callback, or changes arguments of one that is there."""
    node = {"_target_": f"{CALLBACKS}.{target}"} if target else {}
    return {"callbacks": {name: {**node, **arguments}}}


def swap(name: str, card: str, *changes: str, claim: Claim = "recipe", more: tuple[str, ...] = ()) -> ComponentSetting:
    """Row of a shipped overlay."""
    content = load_layers([f"swap/{name}"]).merged()
    return ComponentSetting(f"swap/{name}", card, content, changes, claim, (*SMALL, *more))


COMPONENTS = (
    ComponentSetting("poly_lr", "poly_lr", callback("poly_lr", power=0.5), ("callbacks.poly_lr",), "recipe"),
    ComponentSetting(
        "one_cycle",
        "one_cycle",
        {
            "callbacks": {
                "poly_lr": None,
                "one_cycle": {"_target_": f"{CALLBACKS}.OneCycle", "rates": [0.001, 0.01, 0.0001]},
            }
        },
        ("callbacks.poly_lr", "callbacks.one_cycle"),
        "recipe",
    ),
    ComponentSetting(
        "lr_schedule",
        "lr_schedule",
        {
            "callbacks": {
                "poly_lr": None,
                "lr_schedule": {
                    "_target_": f"{CALLBACKS}.LRSchedule",
                    "base_lr": 0.01,
                    "phases": [
                        {"_target_": "catalyst_cityscapes.schedules.LinearWarmup", "iterations": 3, "factor": 0.1},
                        {"_target_": "catalyst_cityscapes.schedules.Poly", "floor": 0.0001},
                    ],
                },
            }
        },
        ("callbacks.poly_lr", "callbacks.lr_schedule"),
        "recipe",
    ),
    ComponentSetting(
        "torch_scheduler",
        "torch_scheduler",
        {
            "callbacks": {
                "poly_lr": None,
                "torch_scheduler": {
                    "_target_": f"{CALLBACKS}.TorchScheduler",
                    "scheduler": {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 100},
                },
            }
        },
        ("callbacks.poly_lr", "callbacks.torch_scheduler"),
        "recipe",
    ),
    ComponentSetting("sync_bn", "sync_bn", {"callbacks": {"sync_bn": None}}, ("callbacks.sync_bn",), "bitwise"),
    ComponentSetting("aux_loss", "aux_loss", callback("aux_loss", weight=0.0), ("callbacks.aux_loss",), "recipe"),
    ComponentSetting(
        "losses",
        "losses",
        {
            "criterion": {
                "_target_": f"{LOSSES}.SumOfLosses",
                "losses": [
                    {"_target_": f"{LOSSES}.CrossEntropy", "weight": [1.0] * 18 + [2.0], "average": "all"},
                    {"_target_": f"{LOSSES}.OhemCrossEntropyMmseg", "thresh": 0.7, "min_kept": 100},
                    {"_target_": f"{LOSSES}.OhemCrossEntropyBiSeNet"},
                ],
            }
        },
        ("criterion",),
        "recipe",
    ),
    ComponentSetting(
        "gradient_step",
        "gradient_step",
        callback("gradient_step", accumulation_steps=2, clip_norm=1.0),
        ("callbacks.gradient_step",),
        "recipe",
    ),
    ComponentSetting(
        "checkpoint",
        "checkpoint",
        {**callback("checkpoint", metric="mIoU", select="best"), **VALIDATED},
        ("callbacks.checkpoint", "validation.every"),
        "bitwise",
    ),
    ComponentSetting(
        "checkpoint within epochs",
        "checkpoint",
        callback("checkpoint", every_minutes=1e-9),
        ("callbacks.checkpoint.every_minutes",),
        "bitwise",
    ),
    ComponentSetting("watch", "watch", callback("watch", on_nan="skip", every=1), ("callbacks.watch",), "bitwise"),
    ComponentSetting(
        "early_stopping",
        "early_stopping",
        {**callback("early_stopping", "EarlyStopping", metric="mIoU", patience=5), **VALIDATED},
        ("callbacks.early_stopping", "validation.every"),
        "bitwise",
    ),
    ComponentSetting(
        "batch_mean_iou",
        "mean_iou",
        {**callback("batch_mean_iou", "BatchMeanIoU", classes=19), **VALIDATED},
        ("callbacks.batch_mean_iou", "validation.every"),
        "bitwise",
    ),
    ComponentSetting(
        "decoupled_sgd",
        "optimizer",
        {
            "optimizer": {
                "_target_": "catalyst_cityscapes.optim.DecoupledSGD",
                "lr": 0.01,
                "momentum": 0.9,
                "weight_decay": 0.0001,
                "groups": {
                    "_target_": "catalyst_cityscapes.optim.reference_groups",
                    "head_multiplier": 10,
                },
            }
        },
        ("optimizer._target_",),
        "recipe",
    ),
    ComponentSetting(
        "no_bias_decay_groups",
        "optimizer",
        {"optimizer": {"groups": {"_target_": "catalyst_cityscapes.optim.no_bias_decay_groups"}}},
        ("optimizer.groups",),
        "recipe",
    ),
    ComponentSetting(
        "groups_by_rule",
        "optimizer",
        {
            "optimizer": {
                "_target_": "torch.optim.AdamW",
                "lr": 0.001,
                "groups": {
                    "_target_": "catalyst_cityscapes.optim.groups_by_rule",
                    "rules": [{"kind": "norm", "decay_mult": 0}, {"name": ["cls.*", "aux.*"], "lr_mult": 10}],
                },
            }
        },
        ("optimizer", "callbacks.poly_lr.base_lr"),
        "recipe",
    ),
    ComponentSetting(
        "criterion",
        "aux_loss",
        {"criterion": {"label_smoothing": 0.1}},
        ("criterion",),
        "recipe",
    ),
    ComponentSetting(
        "smp model",
        "models",
        {
            "model": {
                "_target_": "catalyst_cityscapes.models.smp.SmpPSPNet",
                "encoder": "resnet18",
                "classes": 19,
                "encoder_depth": 3,
                "psp_channels": 16,
                "aux_channels": 8,
            }
        },
        ("model",),
        "recipe",
    ),
    ComponentSetting(
        "small PSPNet",
        "models",
        {
            "model": {
                "_target_": "catalyst_cityscapes.models.small.SmallPSPNet",
                "classes": 19,
                "width": 4,
                "head_channels": 8,
                "aux_channels": 8,
            }
        },
        ("model",),
        "recipe",
    ),
    ComponentSetting("bf16", "precision", {"engine": {"precision": "bf16"}}, ("engine.precision",), "statistical"),
    ComponentSetting(
        "channels_last",
        "training_step",
        {"engine": {"memory_format": "channels_last"}},
        ("engine.memory_format",),
        "statistical",
    ),
    # Without dropout, so that test_training_step.py can compare the same compiled network with the plain one.
    ComponentSetting(
        "compile",
        "training_step",
        {"engine": {"compile": "default"}},
        ("engine.compile",),
        "statistical",
        settings=(*SMALL, "model.dropout=0.0"),
    ),
    ComponentSetting(
        "deterministic", "precision", {"engine": {"deterministic": True}}, ("engine.deterministic",), "bitwise"
    ),
    ComponentSetting(
        "cudnn_benchmark",
        "training_step",
        {"engine": {"cudnn_benchmark": True}},
        ("engine.cudnn_benchmark",),
        "bitwise",
    ),
    ComponentSetting(
        "activation_checkpointing",
        "training_step",
        {"engine": {"activation_checkpointing": ["layer1", "layer3", "cls"]}},
        ("engine.activation_checkpointing",),
        "bitwise",
    ),
    ComponentSetting(
        "zoom_factor 1",
        "models",
        {"model": {"zoom_factor": 1}},
        ("model.zoom_factor",),
        "recipe",
        settings=(),
    ),
    ComponentSetting(
        "replay_augmentation",
        "sampling",
        {"sampling": {"replay_augmentation": True}},
        ("sampling.replay_augmentation",),
        "recipe",
    ),
    ComponentSetting(
        "seed_stream reference",
        "sampling",
        {"sampling": {"seed_stream": "reference"}},
        ("sampling.seed_stream",),
        "statistical",
    ),
    ComponentSetting(
        "persistent workers",
        "sampling",
        {"sampling": {"workers": 1, "persistent_workers": True}},
        ("sampling.workers", "sampling.persistent_workers"),
        "bitwise",
    ),
    ComponentSetting(
        "across epochs",
        "sampling",
        {"sampling": {"workers": 1, "across_epochs": True}},
        ("sampling.workers", "sampling.across_epochs"),
        "bitwise",
    ),
    ComponentSetting(
        "transfer", "training_step", {"engine": {"transfer": "overlapped"}}, ("engine.transfer",), "bitwise"
    ),
    ComponentSetting(
        "resize",
        "training_step",
        {"engine": {"resize": "products"}},
        ("engine.resize",),
        "statistical",
        ("model._target_=support.networks.small.ResizingLogits", "model.classes=19"),
    ),
    ComponentSetting("data cache", "data_cache", {"data": {"cache": "decoded"}}, ("data.cache",), "bitwise"),
    swap("augmentation_albumentations", "augmentation", "augmentation", claim="statistical"),
    swap("augmentation_base_resolution", "augmentation", "augmentation.order", "augmentation.steps.base_resolution"),
    swap("augmentation_blur", "augmentation", "augmentation.steps.blur"),
    swap("augmentation_crop_first", "augmentation", "augmentation", claim="bitwise"),
    swap("augmentation_catalyst_2020", "augmentation", "augmentation.order", "augmentation.steps"),
    swap("augmentation_order", "augmentation", "augmentation.order"),
    swap("catalyst_2020", "README", "sampling", "augmentation", "optimizer", "callbacks", "validation.every"),
    swap("augmentation_rotate", "augmentation", "augmentation.steps.rotate", claim="bitwise"),
    swap("augmentation_scale", "augmentation", "augmentation.steps.scale"),
    swap("augmentation_shift", "augmentation", "augmentation.order", "augmentation.steps.shift"),
    swap("replayed_draws", "sampling", "sampling.replay_augmentation"),
    swap("batch", "sampling", "sampling.batch_size", "sampling.per_process", more=("sampling.drop_last=false",)),
    swap("fast_step", "training_step", "engine", "sampling.across_epochs", "optimizer.fused", claim="statistical"),
    swap("drop_last", "sampling", "sampling.drop_last"),
    swap("head_lr", "optimizer", "optimizer.groups.head_multiplier"),
    swap("model_selection", "checkpoint", "callbacks.checkpoint", "validation.every", claim="bitwise"),
    swap("momentum", "one_cycle", "callbacks.momentum_cycle"),
    swap("schedule", "one_cycle", "callbacks.poly_lr", "callbacks.one_cycle"),
    swap("sync_bn", "sync_bn", "callbacks.sync_bn", claim="bitwise"),
    swap("validation_metric", "mean_iou", "callbacks.batch_mean_iou", "validation.every", claim="bitwise"),
    swap("weight_decay", "optimizer", "optimizer"),
)

SWAPS_AND_THE_CONTROL_ARM: dict[str, str | None] = {
    "augmentation_albumentations": "augmentation._target_",
    "augmentation_base_resolution": "augmentation.order",
    "augmentation_blur": "augmentation.steps.blur._target_",
    "augmentation_crop_first": "augmentation._target_",
    "augmentation_catalyst_2020": "augmentation.order",
    "augmentation_order": "augmentation.order",
    "augmentation_rotate": "augmentation.steps.rotate._target_",
    "augmentation_scale": "augmentation.steps.scale._target_",
    "augmentation_shift": "augmentation.order",
    "replayed_draws": "sampling.replay_augmentation",
    "batch": "sampling.per_process",
    "drop_last": "sampling.drop_last",
    "catalyst_2020": "sampling.drop_last",
    "fast_step": "optimizer.fused",
    "head_lr": "optimizer.groups.head_multiplier",
    "model_selection": "callbacks.checkpoint.select",
    "model_smp": "model._target_",
    "momentum": "callbacks.momentum_cycle",
    "precision": "engine.precision",
    "schedule": "callbacks.poly_lr",
    "stem_torchvision": None,
    "sync_bn": None,
    "validation_metric": "callbacks.batch_mean_iou",
    "weight_decay": "optimizer._target_",
}
"""The first key of each shipped overlay that the control arm has no option for; None: it trains the swap too."""
