"""Part `tester`: an image of Cityscapes' size from pixels to classes, arm by arm, against the control arm's tester."""

from collections.abc import Callable

import numpy as np
import torch

from catalyst_cityscapes.bench.repeats import timed
from catalyst_cityscapes.bench.tester import (
    CPU_NETWORK_ARMS,
    NETWORK_ARMS,
    control_classes,
    forward_seconds,
    our_classes,
    scene,
)
from catalyst_cityscapes.inference.predictor import Predictor
from gpu.place import CROP, CUDA, DEVICE, SCENE, TINY, say, told, wait
from semseg_ref.model.pspnet import PSPNet
from semseg_ref.protocol import Protocol

ARMS = NETWORK_ARMS if CUDA else CPU_NETWORK_ARMS
"""Tester, precision and memory format of each arm."""
SIZE = (33, 55) if TINY else SCENE
TURNS, CONTROL_TURNS = (1, 1) if TINY else (8, 2)


def main() -> None:
    """PSPNet-50 with random weights: the control arm once, then the arms."""
    torch.manual_seed(0)
    network = PSPNet(layers=50, classes=19, pretrained=False).to(DEVICE).eval()
    image, protocol = scene(0, *SIZE), Protocol((CROP, CROP), SIZE[1])
    expected = control_classes(network, image, protocol)
    control_s = _median(lambda: control_classes(network, image, protocol), CONTROL_TURNS)
    say("tester of the control arm", "fp32", seconds=control_s, images_per_s=1 / control_s)
    for mode, precision, memory_format in ARMS:
        name = f"{mode} {precision} {memory_format}"
        with told("tester", name):
            predictor = Predictor(network, protocol, mode, precision=precision, memory_format=memory_format)
            found = our_classes(predictor, image)
            ours_s = _median(lambda predictor=predictor: our_classes(predictor, image), TURNS)
            bound_s = forward_seconds(predictor, SIZE, TURNS)
            say(
                "tester",
                name,
                seconds=ours_s,
                images_per_s=1 / ours_s,
                ratio=control_s / ours_s,
                forward_s=bound_s,
                share_of_bound=bound_s / ours_s,
                agreement=float((found == expected).mean()),
                batch=predictor.batch,
            )


def _median(work: Callable[[], object], repeats: int) -> float:
    wait()
    return float(np.median([timed(work)[0] for _ in range(repeats)]))


if __name__ == "__main__":
    main()
