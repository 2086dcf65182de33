"""A small network for tests of the tester, and images with labels that it is half right about."""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn

from semseg_ref import tester
from semseg_ref.protocol import Protocol
from support.golden.inputs import rec_image

COLORS = np.arange(450, dtype=np.uint32).astype(np.uint8).reshape(150, 3)[:19]
PROTOCOL = Protocol((33, 33), 90)


class ContextNet(nn.Module):
    """Logits that depend on a pixel's surroundings and on its place in the window; `stride` shrinks them."""

    align_corners = True

    def __init__(self, classes=19, stride=1, pair=False, gain=4.0):
        super().__init__()
        torch.manual_seed(classes)
        self.conv = nn.Conv2d(3, classes, 5, padding=2, stride=stride)
        self.pair, self.gain = pair, gain

    def forward(self, x):
        columns = torch.linspace(0, 1, x.shape[3]).to(x)
        logits = self.conv(x * (1 + columns)) * self.gain
        return (logits, None) if self.pair else logits


def write_city(folder: Path, model, protocol, sizes):
    """Images, and labels that are half right: the control arm's prediction on one half of the image."""
    pairs = []
    for seed, (height, width) in enumerate(sizes):
        image = cv2.resize(rec_image(seed, 9, 9), (width, height), interpolation=cv2.INTER_CUBIC)
        label = tester.decide(tester.predict(model, image, protocol))
        label[:, : width // 2] = 255 if seed == 0 else seed
        paths = folder / f"i{seed}.png", folder / f"l{seed}.png"
        for path, values in zip(paths, (image, label), strict=True):
            Image.fromarray(values).save(path)
        pairs.append(tuple(map(str, paths)))
    return pairs
