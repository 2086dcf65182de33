"""What a protocol does, in words: the columns of `catalyst-dl scores --protocols`."""

import math

from semseg_ref.protocol import WHOLE_IMAGE, Protocol

RESIZED = {
    "opencv": "OpenCV, float32",
    "opencv_uint8": "OpenCV, whole grey levels",
    "pillow": "Pillow, antialiased grey levels",
    "aligned": "torch, aligned corners",
}
BACK = {"bilinear": "bilinear", "bilinear_aligned": "bilinear, aligned corners", "nearest": "nearest pixel"}
AVERAGED = {
    "window": "probabilities of windows",
    "view": "logits of windows, then probabilities",
    "never": "logits",
}
MIRRORED = {"window": "each window", "image": "the whole image"}


def described(protocol: Protocol, align_corners: bool | None = None) -> dict[str, str]:
    """Each step between an image and its classes, in order, under its name.

    Args:
        protocol: any.
        align_corners: how the network's logits come to the window; None where that is not known.
    """
    return {
        "image fitted into": _size(protocol),
        "resized by": RESIZED[protocol.resize],
        "scales": ", ".join(f"{scale:g}" for scale in protocol.scales),
        "mirrored": MIRRORED[protocol.mirrored] if protocol.flip else "nothing",
        "padded": _padding(protocol),
        "window": "the image" if protocol.crop == WHOLE_IMAGE else _by(protocol.crop),
        "stride": _stride(protocol),
        "logits to the window": {None: "-", True: "aligned corners", False: "no aligned corners"}[align_corners],
        "averaged": AVERAGED[protocol.softmax],
        "back to the image's size": BACK[protocol.resize_back],
        "classes that occur nowhere": "left out of the mean" if protocol.scorer != "semseg" else "count as 0",
    }


def _by(sides: tuple[int, int]) -> str:
    return f"{sides[0]} x {sides[1]}"


def _size(protocol: Protocol) -> str:
    if protocol.base_size == WHOLE_IMAGE:
        return "its own size"
    if isinstance(protocol.base_size, int):
        return f"long side {protocol.base_size}"
    return _by((protocol.base_size[1], protocol.base_size[0]))


def _padding(protocol: Protocol) -> str:
    if protocol.pad_to == "none":
        return "no"
    place = "on all sides" if protocol.pad_at == "centre" else "right, bottom"
    return f"to {'the window' if protocol.pad_to == 'crop' else f'multiples of {protocol.pad_to}'}, {place}"


def _stride(protocol: Protocol) -> str:
    if protocol.crop == WHOLE_IMAGE:
        return "-"
    rate = protocol.stride_rate
    return _by(protocol.stride or tuple(math.ceil(side * rate) for side in protocol.crop))
