"""Between recipes and the official config format, so that one recipe drives both arms.

A recipe is what the control arm can run exactly when translating it to the official format and back gives the recipe
again, but for keys whose role says that it can do without them; every other key that does not come back is named.
"""

from pathlib import Path
from typing import Any

from catalyst_cityscapes.recipe.changes import differing
from catalyst_cityscapes.recipe.key_roles import control_can_do_without, how_to_say_it
from catalyst_cityscapes.recipe.loading import CONFIGS, Layers, Source, read_with_base, resolve_recipe
from catalyst_cityscapes.recipe.schema import Recipe
from semseg_ref.base.errors import InputError
from semseg_ref.config import CfgNode
from semseg_ref.protocol import preset_values

ADAPTERS = {
    "catalyst_cityscapes.models.reference.PSPNetLogits": "psp",
    "catalyst_cityscapes.models.reference.PSANetLogits": "psa",
}
OFFICIAL_SECTIONS = {"DATA", "TRAIN", "TEST"}
# Official options that a recipe has no key for; leaving them out in silence would train something else.
NO_COUNTERPART = {
    "weight": "empty it, or train with python -m semseg_ref.train",
    "resume": "empty it and pass --resume FILE",
    "start_epoch": "set it to 0; --resume FILE goes on after the checkpoint's epoch",
}


def is_official(content: dict[str, Any]) -> bool:
    """Whether a YAML mapping is an official semseg config (sections DATA, TRAIN, TEST)."""
    return bool(OFFICIAL_SECTIONS & content.keys())


def official_to_recipe(cfg: CfgNode, name: str, logdir: str) -> Recipe:
    """The recipe that trains what an official config trains.

    Args:
        cfg: flattened official config.
        name: of the experiment.
        logdir: run folder.

    Raises:
        InputError: a key that the config lacks, or a value that no recipe can have.
    """
    base = read_with_base(CONFIGS / "cityscapes" / "pspnet50.yml", "cityscapes/pspnet50.yml")
    try:
        content = _official_values(cfg, name, logdir)
    except AttributeError as error:
        raise InputError(f"official config: {error}") from error
    return resolve_recipe(Layers([*base, Source(f"official config {name}", content)]))


def _official_values(cfg: CfgNode, name: str, logdir: str) -> dict[str, Any]:
    from semseg_ref.model.build import PSA_OPTIONS, psa_mask_size

    if cfg.arch not in ("psp", "psa"):
        raise InputError(f"official config: arch: '{cfg.arch}' is neither 'psp' nor 'psa'")
    for key, instead in NO_COUNTERPART.items():
        if cfg.get(key):
            raise InputError(f"official config: {key}: {cfg[key]} has no place in a recipe; {instead}")
    tested = cfg.get("test_list", cfg.val_list)
    if cfg.get("split") != "test" and tested != cfg.val_list:
        raise InputError(
            f"official config: test_list: {tested} is not val_list ({cfg.val_list}), which is what a recipe scores; "
            "make them one, or test with python -m semseg_ref.tester"
        )
    network = {
        "_target_": next(target for target, arch in ADAPTERS.items() if arch == cfg.arch),
        "layers": cfg.layers,
        "classes": cfg.classes,
        "zoom_factor": cfg.zoom_factor,
        "dropout": cfg.get("dropout", 0.1),
        "pretrained": cfg.get("pretrained", True),
    }
    if "stem" in cfg:
        network["stem"] = cfg.stem
    if cfg.arch == "psa":
        network |= {option: cfg[option] for option in PSA_OPTIONS}
        network |= {"compact": bool(cfg.compact), "psa_softmax": bool(cfg.psa_softmax)}
        for side, crop in (("mask_h", cfg.train_h), ("mask_w", cfg.train_w)):  # as the control arm does
            network[side] = psa_mask_size(crop, cfg.shrink_factor, bool(cfg.compact), cfg.get(side))
    return {
        "experiment": {"name": name, "seed": cfg.manual_seed, "epochs": cfg.epochs, "logdir": logdir},
        "data": {
            "root": cfg.data_root,
            "train_list": cfg.train_list,
            "val_list": cfg.val_list,
            "test_list": cfg.test_list if cfg.get("split") == "test" else None,
            "classes": cfg.classes,
            "ignore_index": cfg.ignore_label,
            "crop": [cfg.train_h, cfg.train_w],
            "names": cfg.names_path,
            "colors": cfg.colors_path,
        },
        "sampling": {
            "batch_size": cfg.batch_size,
            "workers": cfg.workers,
            "seed_stream": "reference" if cfg.manual_seed is None else "named",
        },
        "augmentation": {
            "steps": {
                "scale": {"scale": [cfg.scale_min, cfg.scale_max]},
                "rotate": {"rotate": [cfg.rotate_min, cfg.rotate_max]},
            }
        },
        "model": network,
        "optimizer": {"lr": cfg.base_lr, "momentum": cfg.momentum, "weight_decay": cfg.weight_decay},
        "callbacks": {
            "sync_bn": {"backend": "torch"} if cfg.sync_bn else None,
            "aux_loss": {"weight": cfg.aux_weight},
            "poly_lr": {"power": cfg.power},
            "checkpoint": {"save_every": cfg.save_freq},
        },
        "validation": {"every": 1 if cfg.evaluate else 0, "batch_size": cfg.batch_size_val},
        "protocol": {
            "name": next((n for n in ("semseg-ss", "semseg-ms") if preset_values(n)["scales"] == cfg.scales), None),
            "crop": [cfg.test_h, cfg.test_w],
            "base_size": cfg.base_size,
            "scales": cfg.scales,
        },
        "expected": None,
    }


def recipe_to_official(recipe: Recipe) -> CfgNode:
    """The official config of a recipe, for the control arm.

    Raises:
        InputError: naming the first key path that the control arm cannot express, and how many there are.
    """
    if recipe.experiment.iterations is not None:
        raise InputError(
            f"--control: the control arm cannot express experiment.iterations: {recipe.experiment.iterations}; it "
            "counts epochs: --set experiment.epochs=N"
        )
    cfg = _official_candidate(recipe)
    again = official_to_recipe(cfg, recipe.experiment.name, recipe.experiment.logdir)
    sides = (recipe.plain(), again.plain())
    paths = [path for path, _, _ in differing(*sides) if not control_can_do_without(path, *sides)]
    if paths:
        names = [".".join(path) for path in paths]
        more = f" (and {len(names) - 1} more: {', '.join(names[1:4])})" if len(names) > 1 else ""
        raise InputError(
            f"--control: the control arm cannot express {names[0]}{more}; it trains the official recipe only"
            f"{how_to_say_it(paths[0], *sides)}"
        )
    return cfg


def _official_candidate(recipe: Recipe) -> CfgNode:
    from semseg_ref.model.build import PSA_OPTIONS

    # Only reads what has an official counterpart; whatever else the recipe holds shows in the comparison afterwards.
    data, model, steps = recipe.data, recipe.model, recipe.augmentation.get("steps") or {}
    node = {name: value or {} for name, value in recipe.callbacks.items()}
    arch = ADAPTERS.get(model["_target_"])
    if arch is None:
        raise InputError(f"--control: the control arm cannot express model._target_: {model['_target_']}")
    scale = (steps.get("scale") or {}).get("scale", [0.5, 2.0])
    rotate = (steps.get("rotate") or {}).get("rotate", [-10, 10])
    folder = Path(recipe.experiment.logdir)
    test_crop, base_size = recipe.protocol.crop, recipe.protocol.base_size
    test_crop = test_crop if isinstance(test_crop, tuple) else data.crop
    cfg = CfgNode(
        {
            "data_root": data.root,
            "train_list": data.train_list,
            "val_list": data.val_list,
            "classes": data.classes,
            "arch": arch,
            "layers": model.get("layers", 50),
            "sync_bn": recipe.callbacks.get("sync_bn") is not None,
            "train_h": data.crop[0],
            "train_w": data.crop[1],
            "scale_min": scale[0],
            "scale_max": scale[-1],
            "rotate_min": rotate[0],
            "rotate_max": rotate[-1],
            "zoom_factor": model.get("zoom_factor", 8),
            "ignore_label": data.ignore_index,
            "aux_weight": node.get("aux_loss", {}).get("weight", 0.4),
            "train_gpu": [0],
            "workers": recipe.sampling.workers,
            "batch_size": recipe.sampling.batch_size,
            "batch_size_val": recipe.validation.batch_size,
            "base_lr": recipe.optimizer.get("lr"),
            "epochs": recipe.experiment.epochs,
            "start_epoch": 0,
            "power": node.get("poly_lr", {}).get("power", 0.9),
            "momentum": recipe.optimizer.get("momentum", 0),
            "weight_decay": recipe.optimizer.get("weight_decay", 0),
            "manual_seed": recipe.experiment.seed,
            "print_freq": 10,
            "save_freq": node.get("checkpoint", {}).get("save_every", 1),
            "save_path": str(folder / "model"),
            "weight": None,
            "resume": None,
            "evaluate": recipe.validation.every == 1,
            "test_list": data.val_list,
            "split": "val",
            "base_size": base_size if isinstance(base_size, int) else None,
            "test_h": test_crop[0],
            "test_w": test_crop[1],
            "scales": list(recipe.protocol.scales),
            "names_path": data.names,
            "colors_path": data.colors,
            "dropout": model.get("dropout", 0.1),
            "pretrained": model.get("pretrained", True),
        }
    )
    for option in (*PSA_OPTIONS, "stem"):
        if option in model:
            cfg[option] = model[option]
    return cfg
