"""Part `data`: images a second from the training loader, a process for each core, pinned and copied to the device."""

import contextlib
import io
import time

from catalyst_cityscapes.data.plain_png import has_decoder
from catalyst_cityscapes.train.loaders import build_loaders
from gpu.place import BATCH, CORES, CROP, DEVICE, TINY, WORK, say, told, wait
from gpu.scenes import COUNT, photographs
from gpu.trainings import toy_recipe

CROP_FIRST = ("toy/pspnet50", "swap/augmentation_crop_first")
ARMS = {
    "crop_first": (CROP_FIRST, ()),
    "crop_first from the cache": (CROP_FIRST, (f"data.cache={WORK / 'cache'}",)),
    "control's pipeline": (("toy/pspnet50",), ()),
}
"""One line an arm: configs and `--set` values."""
SECONDS, WORKERS = (1, 1) if TINY else (14, CORES)


def time_loader(name: str, configs: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Takes batches for `SECONDS`; those that were made while the first was waited for do not count."""
    city = photographs()
    recipe = toy_recipe(
        WORK / "unused",
        f"data.root={city}",
        f"data.train_list={city / 'list' / 'repeated.txt'}",
        f"sampling.workers={WORKERS}",
        *settings,
        crop=CROP,
        batch=BATCH,
        configs=configs,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        loaders, _ = build_loaders(recipe, 0, 1)
    loader, taken, first_s, mark, start = loaders["train"], 0, None, None, time.perf_counter()
    ahead = 1 if TINY else 2 * WORKERS
    for image, target in loader:
        image.to(DEVICE, non_blocking=True)
        target.to(DEVICE, non_blocking=True)
        taken += 1
        first_s = first_s or time.perf_counter() - start
        if taken == ahead:
            mark = time.perf_counter()
        if time.perf_counter() - start > SECONDS and taken > ahead:
            break
    wait()
    counted = time.perf_counter() - mark
    loader.stop()
    say(
        "loader",
        name,
        images_per_s=(taken - ahead) * BATCH / counted,
        first_batch_s=first_s,
        batches=taken,
        workers=WORKERS,
        crop=CROP,
        batch=BATCH,
        fast_decoder=has_decoder(),
    )


def main() -> None:
    """Draws the scenes, then takes the arms in turn."""
    start = time.perf_counter()
    city = photographs()
    sizes = [path.stat().st_size for path in (city / "leftImg8bit" / "train").rglob("*.png")]
    say("scenes", images=COUNT, seconds=time.perf_counter() - start, png_kb=sum(sizes) / len(sizes) / 1e3)
    for name, (configs, settings) in ARMS.items():
        with told("loader", name):
            time_loader(name, configs, settings)


if __name__ == "__main__":
    main()
