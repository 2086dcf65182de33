"""Holds the mmsegmentation family against a folder of golden files: a line a file, and 1 where any differs.

    .venv/bin/python benchmarks/mmseg_goldens.py FOLDER [PREFIX ...]     e.g. ... goldens keys_ forward_

The folder is one like tests/goldens/mmseg: any depths, class counts and sizes. What is compared and how near it has to
be is in tests/support/golden/mmseg_checks.py; forward passes run in float32 and in float64.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import click  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from catalyst_cityscapes.data.augmentation import mmseg as augmentation  # noqa: E402
from catalyst_cityscapes.data.endless import EndlessSampler  # noqa: E402
from catalyst_cityscapes.inference import predict  # noqa: E402
from catalyst_cityscapes.losses import mmseg_loss  # noqa: E402
from catalyst_cityscapes.models.mmseg import NAMES  # noqa: E402
from catalyst_cityscapes.optim import groups_by_rule  # noqa: E402
from catalyst_cityscapes.recipe.named_protocols import named  # noqa: E402
from catalyst_cityscapes.schedules import mmseg_rate  # noqa: E402
from support.golden.inputs import load_golden, rec_image, rec_label, sha256  # noqa: E402
from support.golden.mmseg_checks import (  # noqa: E402
    Golden,
    assert_same_classes,
    check_forward,
    check_init,
    check_iou,
    check_iou_of_sums,
    check_keys,
    check_loss_ce,
    check_nmf,
    check_tested_image,
    check_train,
    logits_tolerance,
)
from support.golden.mmseg_networks import filled, on_meta  # noqa: E402


def network_of(path: Path) -> str:
    """Name of the network that a file's name ends in: `hrnet_w48` of `forward_hrnet_w48_odd`."""
    found = [name for name in NAMES if f"_{name}_" in f"{path.stem}_"]
    return max(found, key=len)


def keys(path: Path) -> None:
    check_keys(network_of(path), load_golden(path))


def forward(path: Path) -> None:
    for dtype in (torch.float32, torch.float64):
        check_forward(load_golden(path), dtype)


def train(path: Path) -> None:
    check_train(network_of(path), load_golden(path))


def init(path: Path) -> None:
    check_init(network_of(path), load_golden(path))


def nmf(path: Path) -> None:
    check_nmf(load_golden(path))


def loss_ce(path: Path) -> None:
    check_loss_ce(load_golden(path))


def groups(path: Path) -> None:
    golden, network = load_golden(path), on_meta(network_of(path))
    lr, decay = golden["optimizer_cfg"]["lr"], golden["optimizer_cfg"]["weight_decay"]
    rules = (golden["paramwise_cfg"] or {}).get("custom_keys", {})
    plain = [{"params": list(network.parameters()), "lr": lr, "weight_decay": decay}]
    merged = groups_by_rule(network, lr, decay, rules) if rules else plain
    counts = {f"lr={group['lr']} wd={group['weight_decay']}": len(group["params"]) for group in merged}
    assert counts == golden["summary"]
    if golden["rows"] is not None:
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        each = groups_by_rule(network, lr, decay, rules)
        rows = [[names[id(group["params"][0])], i, group["lr"], group["weight_decay"]] for i, group in enumerate(each)]
        assert rows == golden["rows"]


def lr(path: Path) -> None:
    for row in load_golden(path)["rows"]:
        warmup = {"warmup": 5} if row["label"] == "adamw_short" else {}
        for group, base in enumerate(row["base_lr_per_group"]):
            found = [mmseg_rate(t, base, row["max_iters"], row["label"], **warmup) for t in row["iteration"]]
            expected = [rates[group] for rates in row["lr"]]
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * base)


def sampler(path: Path) -> None:
    for row in load_golden(path)["rows"]:
        for rank, first in row["first"].items():
            order, around = (
                EndlessSampler(row["size"], None, row["seed"], int(rank), row["world"]),
                row["around_wrap"][rank],
            )
            stop = row["size"] // row["world"] + 6
            assert [index for _, index in order.keys(0, len(first))] == first
            assert [index for _, index in order.keys(stop - len(around), stop)] == around


def pictures(meta: Golden) -> tuple[np.ndarray, np.ndarray]:
    """Image uint8 BGR and label uint8 of an `op_*` or `pipeline_*` file."""
    image, label = meta["image"], meta["label"]
    bgr = np.ascontiguousarray(rec_image(image["seed"], image["h"], image["w"])[..., ::-1])
    return bgr, rec_label(label["seed"], image["h"], image["w"], label["classes"], label["block"])


def op(path: Path) -> None:
    golden = load_golden(path)
    arguments = {k: v for k, v in golden["meta"]["transform"].items() if k not in ("type", "keep_ratio")}
    step = getattr(augmentation, golden["meta"]["transform"]["type"])(**arguments)
    source = pictures(golden["meta"])
    for index, seed in enumerate(golden["seeds"].tolist()):
        np.random.seed(seed)
        image, label = step(*source)
        found = (sha256(image), sha256(label), np.random.random_sample())
        assert found == tuple(golden[key][index] for key in ("sha_image", "sha_label", "rng_next")), seed


def pipeline(path: Path) -> None:
    golden = load_golden(path)
    meta = golden["meta"]
    steps = (
        augmentation.RandomResize(meta["scale"], meta["ratio_range"]),
        augmentation.RandomCrop(meta["crop"], meta["cat_max_ratio"]),
        augmentation.RandomFlip(meta["flip_prob"]),
        augmentation.PhotoMetricDistortion(),
        augmentation.Pack(),
    )
    source = pictures(meta)
    for index, seed in enumerate(golden["seeds"].tolist()):
        np.random.seed(seed)
        image, label = source
        for step in steps:
            image, label = step(image, label)
        pixels, _ = augmentation.normalize_and_pad(image, label, meta["crop"])
        found = (sha256(image.numpy()), sha256(label.numpy()), sha256(pixels.numpy()), np.random.random_sample())
        assert found == tuple(golden[key][index] for key in ("sha_inputs", "sha_label", "sha_norm", "rng_next")), seed


def infer(path: Path) -> None:
    golden = load_golden(path)
    meta = golden["meta"]
    is_tta, test = path.stem.startswith("infer_tta"), meta["test_cfg"]
    align_corners = bool(meta.get("align_corners"))
    values = {} if is_tta else {"base_size": meta["test_scale"]}
    if test["mode"] == "slide":
        values |= {"crop": test["crop_size"], "stride": test["stride"]}
    if align_corners:
        values["resize_back"] = "bilinear_aligned"
    if (meta.get("preprocessor_test_cfg") or {}).get("size_divisor"):
        values["pad_to"] = meta["preprocessor_test_cfg"]["size_divisor"]
    protocol = named("mmseg-tta" if is_tta else f"mmseg-{test['mode']}", **values)
    network = filled(meta["model"], align_corners, meta.get("num_classes", 19)).eval()
    if meta.get("ham_torch_seed") is not None:
        torch.manual_seed(meta["ham_torch_seed"])
    image = rec_image(meta["image"]["seed"], meta["image"]["h"], meta["image"]["w"])
    scores = torch.from_numpy(predict(network, image, protocol)).permute(2, 0, 1)[None]
    key, tolerance = ("prob_sub", 1e-4) if is_tta else ("logits_sub", logits_tolerance(meta))
    sub = scores[0, :, :: meta["sub"], :: meta["sub"]].numpy()
    np.testing.assert_allclose(sub, golden[key], rtol=0, atol=tolerance)
    assert_same_classes(scores, golden["pred"], 2 * tolerance)


def traj(path: Path) -> None:
    golden = load_golden(path)
    meta = golden["meta"]
    network = filled(meta["model"], meta["model"].startswith(("pspnet", "deeplab"))).double().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    if meta["ham_torch_seed"] is not None:
        torch.manual_seed(meta["ham_torch_seed"])
    if path.stem.endswith("adamw"):
        rules = {"pos_block": {"decay_mult": 0.0}, "norm": {"decay_mult": 0.0}, "head": {"lr_mult": 10.0}}
        optimizer = torch.optim.AdamW(groups_by_rule(network, 6e-5, 0.01, rules), lr=6e-5)
    else:
        optimizer = torch.optim.SGD(network.parameters(), lr=meta["lr_min_max"][0][0], momentum=0.9, weight_decay=5e-4)
    rates = [group["lr"] for group in optimizer.param_groups]
    mean, std = (torch.tensor(v, dtype=torch.float32).double()[:, None, None]
                 for v in (augmentation.MEAN, augmentation.STD))  # fmt: skip
    for step, (lowest, _) in enumerate(meta["lr_min_max"]):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate / min(rates) * lowest
        height, width = meta["crop"]
        images = [
            torch.from_numpy(rec_image(seed, height, width)).permute(2, 0, 1) for seed in meta["image_seeds"][step]
        ]
        labels = [torch.from_numpy(rec_label(seed, height, width, 19, meta["label_block"])).long()
                  for seed in meta["label_seeds"][step]]  # fmt: skip
        outputs = network((torch.stack(images).double() - mean) / std)
        losses = mmseg_loss(outputs, torch.stack(labels), (1.0, 0.4), network.align_corners)
        expected = meta["losses_f64"][step]
        for name, loss in losses.items():
            np.testing.assert_allclose(loss.item(), expected[name], rtol=1e-6, err_msg=f"{name} of step {step}")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    state = network.state_dict()
    for index, name in enumerate(golden["names"].tolist()):
        value, flat = state[name].double(), state[name].double().reshape(-1)
        places = [0, len(flat) // 3, 2 * len(flat) // 3, len(flat) - 1]
        found = [value.norm(), (value - before[name].double()).norm(), *flat[places]]
        wanted = [golden["f64_norm"][index], golden["f64_update_norm"][index], *golden["f64_probes"][index]]
        np.testing.assert_allclose([float(v) for v in found], wanted, rtol=1e-5, atol=1e-9, err_msg=name)


CHECKS: dict[str, Callable[[Path], None]] = {
    "keys_": keys,
    "init_": init,
    "forward_": forward,
    "train_": train,
    "nmf_": nmf,
    "loss_ce": loss_ce,
    "groups_": groups,
    "lr": lr,
    "sampler": sampler,
    "op_": op,
    "pipeline_test_": lambda path: check_tested_image(load_golden(path)),
    "pipeline_": pipeline,
    "iou_float32": lambda path: check_iou_of_sums(load_golden(path)),
    "iou_": lambda path: check_iou(load_golden(path)),
    "infer_": infer,
    "traj_": traj,
}
"""By the beginning of a file's name, the longest first."""


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("prefixes", nargs=-1)
def main(folder: Path, prefixes: tuple[str, ...]) -> None:
    """Checks every golden file of FOLDER, or those whose names begin with one of PREFIXES."""
    torch.set_num_threads(1)
    counts = {"equal": 0, "DIFFERS": 0, "not compared": 0}
    for path in sorted(folder.resolve().iterdir()):
        if path.suffix not in (".npz", ".json") or (prefixes and not path.name.startswith(prefixes)):
            continue
        check = next((check for prefix, check in CHECKS.items() if path.stem.startswith(prefix)), None)
        start, verdict, why = time.perf_counter(), "not compared", ""
        if check is not None:
            try:
                check(path)
                verdict = "equal"
            except Exception as error:
                verdict, why = "DIFFERS", f"  {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        counts[verdict] += 1
        print(f"{verdict:12s} {path.name:45s} {time.perf_counter() - start:6.1f} s{why}", flush=True)
    print(json.dumps(counts))
    sys.exit(int(counts["DIFFERS"] > 0))


if __name__ == "__main__":
    main()
