"""The reference's tester: sliding windows, flip, optional scales, and predictions as PNG files.

    python -m semseg_ref.tester --config tool/official/cityscapes/cityscapes_pspnet50.yaml [key value ...]

`predict` repeats the reference's operations in its order, so on one CPU thread it gives the same bits. The command line
adds what the reference leaves out: an error where two images would overwrite each other's prediction or the
checkpoint does not fit, and a score file.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.backends import cudnn

from semseg_ref.base.checkpoints.state_dict import load_weights
from semseg_ref.base.errors import CheckpointError, DataError, OptionError
from semseg_ref.base.files import create_folder, replace_atomically
from semseg_ref.catalog import load_colors, load_names
from semseg_ref.config import CfgNode, exit_on_input_error, parse_command_line, require_whole
from semseg_ref.dataset import check_list, make_dataset, read_image
from semseg_ref.evaluation import check_labels, evaluate_folder, format_report, output_names, write_score
from semseg_ref.metric import check_ignored_value
from semseg_ref.model.build import build_network
from semseg_ref.protocol import Protocol, padding, protocol_from_cfg, scaled_size, window_positions

LOG = logging.getLogger("semseg_ref.tester")
OPENCV_CHANNELS = 512
LOG_INTERVAL = 10

Progress = Callable[[int, int, str], None]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards every module has its own mode again."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def network_device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@torch.no_grad()
def predict_window(
    model: nn.Module,
    image: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float] | None = None,
    flip: bool = True,
) -> np.ndarray:
    """Class probabilities of one window.

    The window and its mirror image are one batch of 2. Logits of another size (zoom_factor < 8) are resized to the
    window, bilinear with aligned corners unless the network's attribute `align_corners` is False, before the softmax.
    All of it is float32.

    Args:
        model: network in eval mode; returns logits [N, K, h', w'], or a tuple whose first element they are.
        image: [h, w, 3], RGB 0..255.
        mean, std: normalisation in grey levels; std None only subtracts.
        flip: average with the mirror image's probabilities.

    Returns:
        float32 [h, w, K].
    """
    window = torch.from_numpy(np.array(image.transpose(2, 0, 1), dtype=np.float32, order="C"))
    # Normalised on the CPU: a GPU multiplies by the reciprocal of a scalar instead of dividing by it.
    window = window - torch.tensor(mean, dtype=torch.float32)[:, None, None]
    if std is not None:
        window /= torch.tensor(std, dtype=torch.float32)[:, None, None]
    batch = window.unsqueeze(0).to(network_device(model))
    if flip:
        batch = torch.cat([batch, batch.flip(3)], dim=0)
    output = model(batch)
    logits = output[0] if isinstance(output, (tuple, list)) else output
    if logits.shape[2:] != batch.shape[2:]:
        aligned = bool(getattr(model, "align_corners", True))
        logits = F.interpolate(logits, tuple(batch.shape[2:]), mode="bilinear", align_corners=aligned)
    probabilities = F.softmax(logits, dim=1)
    average = (probabilities[0] + probabilities[1].flip(2)) / 2 if flip else probabilities[0]
    return average.float().cpu().numpy().transpose(1, 2, 0)


def _resize_map(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize of a float64 map [h, w, K]; more channels than OpenCV takes are resized in pieces.

    The pieces are of nearly equal size, so none has the few channels (up to 4) for which OpenCV rounds differently.
    """
    pieces = -(-values.shape[2] // OPENCV_CHANNELS)
    resized = [
        cv2.resize(np.ascontiguousarray(piece), (width, height), interpolation=cv2.INTER_LINEAR).reshape(
            height, width, piece.shape[2]
        )
        for piece in np.array_split(values, pieces, axis=2)
    ]
    return resized[0] if pieces == 1 else np.concatenate(resized, axis=2)


def predict_scale(
    model: nn.Module,
    image: np.ndarray,
    crop: tuple[int, int],
    out_h: int,
    out_w: int,
    mean: Sequence[float],
    std: Sequence[float] | None = None,
    stride_rate: float = 2 / 3,
    flip: bool = True,
) -> np.ndarray:
    """Class probabilities of an image at one scale, resized to the output size.

    Pads the image with `mean` to at least the crop, sums the windows' probabilities in float64, divides by the number
    of windows over each pixel, cuts the padding off and resizes (OpenCV bilinear in float64).

    Args:
        model: see `predict_window`.
        image: float32 [h, w, 3], RGB 0..255, already at the scale.
        crop: (height, width) of a window.
        out_h, out_w: output size in pixels.
        mean, std: normalisation in grey levels.
        stride_rate: step between windows as a share of the crop.
        flip: see `predict_window`.

    Returns:
        float64 [out_h, out_w, K].
    """
    h, w = image.shape[:2]
    top, bottom, left, right = padding(h, w, crop)
    if top or bottom or left or right:
        image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=tuple(mean))
    padded_h, padded_w = image.shape[:2]
    total: np.ndarray | None = None
    count = np.zeros((padded_h, padded_w, 1), np.float64)
    for y0, y1, x0, x1 in window_positions(padded_h, padded_w, crop, stride_rate):
        probabilities = predict_window(model, image[y0:y1, x0:x1], mean, std, flip)
        if total is None:
            total = np.zeros((padded_h, padded_w, probabilities.shape[2]), np.float64)
        total[y0:y1, x0:x1] += probabilities
        count[y0:y1, x0:x1] += 1
    total /= count
    return _resize_map(total[top : top + h, left : left + w], out_h, out_w)


def predict(model: nn.Module, image: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Class probabilities of an image under a protocol; the prediction is their arg-max over the last axis.

    Args:
        model: see `predict_window`; runs in eval mode on the device of its parameters, and its mode is restored.
        image: uint8 or float32 [H, W, 3], RGB 0..255. It is resized as float32, without rounding to grey levels.
        protocol: crop, scales, flip and so on.

    Returns:
        float64 [H, W, K].

    Raises:
        ValueError: the image has another shape.
        OptionError: the protocol asks for something that the reference does not do.
    """
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image {image.shape}: expected [H, W, 3]")
    if protocol.beyond_reference:
        asked = ", ".join(f"{key} {value}" for key, value in protocol.beyond_reference.items())
        refused = "the reference's tester does not do that"
        said = f" {protocol.name}: {refused} ({asked})" if protocol.name else f": {asked}: {refused}"
        raise OptionError(f"protocol{said}; use the tester exact or fast")
    image = np.ascontiguousarray(image, dtype=np.float32)
    h, w = image.shape[:2]
    total: np.ndarray | None = None
    with evaluation_mode(model):
        for scale in protocol.scales:
            new_h, new_w = scaled_size(h, w, scale, protocol.base_size)
            scaled = cv2.resize(image, (max(new_w, 1), max(new_h, 1)), interpolation=cv2.INTER_LINEAR)
            probabilities = predict_scale(
                model, scaled, protocol.crop, h, w, protocol.mean, protocol.std, protocol.stride_rate, protocol.flip
            )
            total = probabilities if total is None else total + probabilities
    return total / len(protocol.scales)


@contextmanager
def strict_fp32() -> Iterator[None]:
    """The tester's settings inside the block: cuDNN times its algorithms, as in the reference, and TF32 is off."""
    matmul = torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = True, False, False
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before


def decide(probabilities: np.ndarray) -> np.ndarray:
    """The predicted classes, uint8 [H, W], of probabilities float64 [H, W, K]; the first class wins a tie."""
    return np.argmax(probabilities, axis=2).astype(np.uint8)


def save_prediction(prediction: np.ndarray, colors: np.ndarray, gray_path: Path, color_path: Path) -> None:
    """Writes a prediction as a grey PNG of class indices and as a palette PNG; neither is ever half written.

    Args:
        prediction: uint8 [H, W].
        colors: uint8 [K, 3], the palette.
        gray_path, color_path: the files.
    """
    gray = Image.fromarray(prediction)
    color = Image.frombytes("P", gray.size, gray.tobytes())
    color.putpalette(colors.ravel().tolist())
    for path, image in ((gray_path, gray), (color_path, color)):
        replace_atomically(path, lambda file, image=image: image.save(file, format="PNG"))


def test_images(
    model: nn.Module,
    data_list: Sequence[tuple[str, str]],
    protocol: Protocol,
    save_folder: str | Path,
    colors: np.ndarray,
    progress: Progress | None = None,  # noqa: PT028 - no test
) -> list[str]:
    """Predicts a list of images into `<save_folder>/gray` and `<save_folder>/color`.

    On a GPU, cuDNN picks its algorithms by timing them, as in the reference, and TF32 is off: the published numbers
    come from cards without it.

    Args:
        model: see `predict_window`.
        data_list: (image path, label path) pairs; the labels are not read.
        protocol: how to test.
        save_folder: created when needed.
        colors: uint8 [K, 3].
        progress: called with (images done, images, prediction's name) after each image.

    Returns:
        The predictions' file names, in order.

    Raises:
        DataError: an unreadable image, or two images of one name.
        OptionError: the network has more classes than there are colours.
        CheckpointError: the network's output is not finite.
    """
    names = output_names(data_list)
    folders = [Path(save_folder) / kind for kind in ("gray", "color")]
    for folder in folders:
        create_folder(folder)
    with strict_fp32():
        for index, (name, (image_path, _)) in enumerate(zip(names, data_list, strict=True)):
            probabilities = predict(model, read_image(image_path), protocol)
            if probabilities.shape[2] > len(colors):
                raise OptionError(
                    f"the network has {probabilities.shape[2]} classes, but there are {len(colors)} colours"
                )
            if not np.isfinite(probabilities).all():
                raise CheckpointError(f"{image_path}: the network's output is not finite; are its weights damaged?")
            save_prediction(decide(probabilities), colors, *(folder / name for folder in folders))
            if progress is not None:
                progress(index + 1, len(names), name)
    return names


test_images.__test__ = False  # pytest would take the imported name for a test


def _log_progress(index: int, total: int, name: str) -> None:
    if index % LOG_INTERVAL == 0 or index == total:
        LOG.info("Test: [%d/%d] %s", index, total, name)


def _device(test_gpu: Sequence[int]) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    gpu = test_gpu[0] if test_gpu else 0
    if not 0 <= gpu < torch.cuda.device_count():
        raise OptionError(f"test_gpu {gpu}: this machine has GPUs 0..{torch.cuda.device_count() - 1}")
    return torch.device("cuda", gpu)


def _selected(data_list: list[tuple[str, str]], start: int, step: int) -> list[tuple[str, str]]:
    """The reference's slice: `step` images from `start`, or all of the rest when `step` is 0."""
    if start < 0 or step < 0 or start >= len(data_list):
        raise OptionError(f"index_start {start}, index_step {step}: the list has {len(data_list)} images")
    return data_list[start : start + step] if step else data_list[start:]


def run(cfg: CfgNode) -> None:
    """Tests and evaluates as an official configuration says (sections DATA, TRAIN for the network, TEST).

    Writes gray/, color/ and, unless `split` is test, `score.json` with `score.npz` into `save_folder`. With
    `has_prediction` the existing grey PNGs are only evaluated, and the score file names no protocol.

    Raises:
        InputError: see `test_images`, `evaluate_folder`, `make_dataset` and `load_weights`.
    """
    protocol = protocol_from_cfg(cfg)
    require_whole(cfg, classes=2, ignore_label=0, index_start=0, index_step=0)
    if cfg.classes > 256:
        raise OptionError(f"classes {cfg.classes}: predictions are 8-bit images, at most 256 classes")
    check_ignored_value(cfg.ignore_label, cfg.classes, "option 'ignore_label'")
    colors = load_colors(cfg.colors_path, cfg.classes)
    names = load_names(cfg.names_path, cfg.classes)
    full_list = make_dataset(cfg.split, cfg.data_root, cfg.test_list)
    output_names(full_list)
    if not cfg.has_prediction:
        check_list(full_list, cfg.test_list, cfg.data_root)
    data_list = _selected(full_list, cfg.index_start, cfg.index_step)
    save_folder = Path(cfg.save_folder)
    checkpoint = None
    if not cfg.has_prediction:
        if not isinstance(cfg.model_path, str):
            raise DataError("model_path is empty: set the checkpoint to test")
        checkpoint = cfg.model_path
        model = build_network(cfg, pretrained=False)
        load_weights(model, checkpoint)
        if cfg.split != "test":
            check_labels(data_list, cfg.classes, cfg.ignore_label)
        model.to(_device(cfg.test_gpu))
        LOG.info("Start prediction: %s, %d images, protocol %s", checkpoint, len(data_list), protocol.hash)
        start = time.perf_counter()
        test_images(model, data_list, protocol, save_folder, colors, _log_progress)
        LOG.info("End prediction: %.1f s", time.perf_counter() - start)
    if cfg.split == "test":
        return
    LOG.info("Start evaluation")
    evaluation = evaluate_folder(save_folder / "gray", data_list, cfg.classes, names, cfg.ignore_label)
    for line in format_report(evaluation):
        LOG.info(line)
    score_path = save_folder / "score.json"
    write_score(score_path, evaluation, None if cfg.has_prediction else protocol, checkpoint)
    LOG.info("End evaluation: %s", score_path)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line: exit code 2 after one line on stderr when the input is wrong."""
    cfg = parse_command_line("Test a checkpoint as the reference does, and score it.", argv)
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s", stream=sys.stdout)
    with exit_on_input_error("semseg_ref.tester"):
        run(cfg)


if __name__ == "__main__":
    main()
