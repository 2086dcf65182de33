"""What the installed OpenCV computes, where versions differ."""

import cv2
import numpy as np

SHIFT = 0.01
STEP = 32


def warp_rounding() -> float:
    """Largest change, in grey levels, that a warp by a hundredth of a pixel makes on a ramp of 32 levels a pixel.

    OpenCV 4 rounds the positions of a warp to 1/32 pixel, so it is 0 there. A version that does not round gives 0.32,
    and other pixels in every rotated image.
    """
    ramp = np.tile(np.arange(8, dtype=np.float32) * STEP, (8, 1))
    shift = np.float32([[1, 0, SHIFT], [0, 1, 0]])
    moved = cv2.warpAffine(ramp, shift, ramp.shape[::-1], flags=cv2.INTER_LINEAR)
    return float(np.abs(moved - ramp)[2:6, 2:6].max())
