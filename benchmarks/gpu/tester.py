"""Part `tester`: an image of Cityscapes' size from pixels to classes, arm by arm, against the control arm's tester."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from catalyst_cityscapes.bench.tester import control_classes, forward_seconds, our_classes, scene
from catalyst_cityscapes.bench.turns import timed
from catalyst_cityscapes.testing.predictor import Predictor
from gpu.place import CROP, CUDA, DEVICE, SCENE, TINY, say, told, wait
from semseg_ref.model.pspnet import PSPNet
from semseg_ref.protocol import Protocol

ARMS = {
    "exact": ("exact", {}),
    "fast fp32": ("fast", {}),
    "fast tf32": ("fast", {"precision": "tf32"}),
    "fast bf16": ("fast", {"precision": "bf16"}),
    "fast bf16 channels_last": ("fast", {"precision": "bf16", "channels_last": True}),
    "fast fp16 channels_last": ("fast", {"precision": "fp16", "channels_last": True}),
}
"""One line an arm: mode, and the options of `Predictor`; `channels_last` is the network's."""
TURNS, CONTROL_TURNS = (1, 1) if TINY else (8, 2)


def main() -> None:
    """PSPNet-50 with random weights: the control arm once, then the arms."""
    torch.manual_seed(0)
    network = PSPNet(layers=50, classes=19, pretrained=False).to(DEVICE).eval()
    image, protocol = scene(0, *SCENE), Protocol((CROP, CROP), SCENE[1])
    expected = control_classes(network, image, protocol)
    control_s = _median(lambda: control_classes(network, image, protocol), CONTROL_TURNS)
    say("tester of the control arm", "fp32", seconds=control_s, images_per_s=1 / control_s)
    for name, (mode, options) in ARMS.items():
        if "fp16" in name and not CUDA:
            continue
        with told("tester", name), _layout(network, options) as rest:
            predictor = Predictor(network, protocol, mode, **rest)
            found = our_classes(predictor, image)
            ours_s = _median(lambda predictor=predictor: our_classes(predictor, image), TURNS)
            bound_s = forward_seconds(predictor, SCENE, TURNS)
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


@contextmanager
def _layout(network: torch.nn.Module, options: dict[str, object]) -> Iterator[dict[str, object]]:
    rest = dict(options)
    if rest.pop("channels_last", False):
        network.to(memory_format=torch.channels_last)
    try:
        yield rest
    finally:
        network.to(memory_format=torch.contiguous_format)


def _median(work, turns: int) -> float:
    wait()
    return float(np.median([timed(work)[0] for _ in range(turns)]))


if __name__ == "__main__":
    main()
