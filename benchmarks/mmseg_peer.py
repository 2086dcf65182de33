"""Our windows and class maps against mmsegmentation's, in turns in one process, with networks that cost nothing.

    PYTHONPATH=. PEER/bin/python benchmarks/mmseg_peer.py [--repeats 7] [--threads 1]

PEER is an environment outside the project with mmsegmentation 1.2.2, mmengine 0.10.7 and mmcv-lite 2.1.0 beside the
project's torch, numpy and OpenCV. Both sides start from the same decoded array and get the same constant logits at the
network's own resolution for each window; resizing these, the windows' sum, the way back to the image's size and the
decision are what is timed. Rows go to benchmarks/results/mmseg_peer_*.csv, one for each test, tester and part:

- `image`: from the decoded image to its classes, resizing and normalising included
- `windows`: from each window's logits to the mean logits at the network's input size
"""

import argparse
import sys
import types
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from catalyst_cityscapes.bench.repeats import Row, environment, interleaved, write_rows
from catalyst_cityscapes.inference.predictor import Predictor
from catalyst_cityscapes.inference.window_sum import WindowSum
from catalyst_cityscapes.recipe.named_protocols import named
from semseg_ref.protocol import Protocol
from semseg_ref.tester import strict_fp32

SIZE, CLASSES = (1024, 2048), 19
PUBLISHED = {
    "769, stride 513, 2049x1025": (
        "pspnet/pspnet_r50-d8_4xb2-80k_cityscapes-769x769.py",
        named("mmseg-slide", stride=(513, 513), resize_back="bilinear_aligned"),
        8,
    ),
    "1024, stride 768, 2048x1024": (
        "segformer/segformer_mit-b3_8xb1-160k_cityscapes-1024x1024.py",
        named("mmseg-slide", crop=(1024, 1024), stride=(768, 768), base_size=(2048, 1024)),
        4,
    ),
    "whole, 2048x1024": (
        "pspnet/pspnet_r50-d8_4xb2-80k_cityscapes-512x1024.py",
        named("mmseg-whole"),
        8,
    ),
}
"""A published configuration of each way to test, our protocol for it, and the stride of its network's logits."""


class Constant(nn.Module):
    """The same random logits for every input of a size."""

    def __init__(self, stride: int, align_corners: bool) -> None:
        super().__init__()
        self.stride, self.align_corners = stride, align_corners
        self.place = nn.Parameter(torch.zeros(()))
        self._logits: dict[tuple[int, ...], Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        """float [N, 3, H, W] -> float [N, K, h, w]."""
        sides = tuple(-(-side // self.stride) for side in x.shape[2:])
        if sides not in self._logits:
            self._logits[sides] = 4 * torch.randn(1, CLASSES, *sides, generator=torch.Generator().manual_seed(0))
        return self._logits[sides].expand(len(x), -1, -1, -1)


def without_compiled_operations() -> None:
    """Puts a module in the place of `mmcv.ops`, which mmcv's build without compiled operations cannot import.

    Nothing that is measured here needs one of them; any name gives an empty class.
    """

    class Operations(types.ModuleType):
        __path__ = ()

        def __getattr__(self, name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    for name in ("mmcv.ops", "mmcv.ops.point_sample", "mmcv.ops.modulated_deform_conv"):
        sys.modules[name] = Operations(name)


class Peer:
    """mmsegmentation's test of one published configuration with constant logits."""

    def __init__(self, config: str, network: Constant) -> None:
        import mmseg
        from mmengine.config import Config
        from mmengine.dataset import Compose
        from mmengine.model.utils import revert_sync_batchnorm
        from mmseg.registry import MODELS
        from mmseg.utils import register_all_modules

        register_all_modules()
        settings = Config.fromfile(str(Path(mmseg.__file__).parent / ".mim" / "configs" / config))
        settings.model.backbone.init_cfg = settings.model.pretrained = None
        settings.model.data_preprocessor.pop("size", None)
        self.model = revert_sync_batchnorm(MODELS.build(settings.model)).eval()
        self.model.extract_feat = lambda inputs: inputs
        self.model.decode_head.forward = lambda inputs: network(inputs)
        steps = [step for step in settings.test_pipeline if not step["type"].startswith("Load")]
        self.pipeline = Compose(steps)

    def prepared(self, image: np.ndarray) -> dict:
        """The network's input of an image uint8 [H, W, 3], RGB."""
        height, width = image.shape[:2]
        read = {"img": np.ascontiguousarray(image[:, :, ::-1]), "img_shape": (height, width), "img_path": ""}
        packed = self.pipeline({**read, "ori_shape": (height, width)})
        batch = {"inputs": [packed["inputs"]], "data_samples": [packed["data_samples"]]}
        return self.model.data_preprocessor(batch, False)

    @torch.no_grad()
    def classes(self, image: np.ndarray) -> np.ndarray:
        """Classes [H, W] of an image."""
        (found,) = self.model(**self.prepared(image), mode="predict")
        return found.pred_sem_seg.data[0].numpy()

    @torch.no_grad()
    def logits(self, batch: dict) -> Tensor:
        """Mean logits float32 [K, h, w] at the network's input size."""
        return self.model.inference(batch["inputs"], [sample.metainfo for sample in batch["data_samples"]])[0]


class Ours:
    """The same of ours."""

    def __init__(self, network: Constant, protocol: Protocol, mode: str) -> None:
        self.predictor = Predictor(network, protocol, mode)

    def classes(self, image: np.ndarray) -> np.ndarray:
        """Classes [H, W] of an image."""
        with strict_fp32():
            found = self.predictor.predict(image)
            prediction, finite = found.decide()
            assert finite
            found.release()
        return prediction.numpy()

    def sum_of(self, image: np.ndarray) -> Callable[[], None]:
        """What sums the windows of an image that is prepared already, up to the mean of each pixel."""
        prepared = self.predictor.prepare(image, 0)
        size = prepared.windows[0]
        output = self.predictor.model(torch.empty(1, 3, size[1] - size[0], size[3] - size[2]))

        @torch.no_grad()
        def work() -> None:
            total = WindowSum(
                prepared, CLASSES, self.predictor.dtype, self.predictor.pool, self.predictor.align_corners, False
            )
            for window in prepared.windows:
                total.add(output, window)
            for _, _ in total.mean_strips():
                pass
            total.release()

        return work


def measured(name: str, repeats: int) -> list[Row]:
    """Rows of one way to test."""
    config, protocol, stride = PUBLISHED[name]
    network = Constant(stride, protocol.resize_back == "bilinear_aligned")
    peer = Peer(config, network)
    coarse = np.random.default_rng(0).integers(0, 256, (33, 65, 3), dtype=np.uint8)
    image = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    batch, rows = peer.prepared(image), []
    for mode in ("exact", "fast"):
        ours = Ours(network, protocol, mode)
        agreement = float((peer.classes(image) == ours.classes(image)).mean())
        for part, theirs, own in (
            ("image", partial(peer.classes, image), partial(ours.classes, image)),
            ("windows", partial(peer.logits, batch), ours.sum_of(image)),
        ):
            about = {"test": name, "tester": mode, "part": part, "equal_classes": round(agreement, 6)}
            rows.append({**about, **interleaved(theirs, own, repeats).row()})
    return rows


def main() -> None:
    """Prints and writes a row for each test, tester and part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=list(PUBLISHED), help="one way to test")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    warnings.filterwarnings("ignore")
    without_compiled_operations()
    try:
        import mmseg
    except ImportError as error:
        parser.error(f"mmsegmentation is not installed here ({error}); see the first lines of this file")
    rows: list[Row] = []
    for name in [options.only] if options.only else PUBLISHED:
        found = measured(name, options.repeats)
        for row in found:
            print(
                f"{name}, {row['tester']}, {row['part']}: peer {row['control_s']:.3f} s, ours {row['ours_s']:.3f} s, "
                f"{row['ratio']:.2f} times sooner ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}); equal classes "
                f"{row['equal_classes']:.6f}",
                flush=True,
            )
        rows += found
    about = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "peer": f"mmsegmentation {mmseg.__version__}",
        "torch": torch.__version__,
        "opencv": cv2.__version__,
        "threads": options.threads,
        "repeats": options.repeats,
        "command": "benchmarks/mmseg_peer.py " + " ".join(sys.argv[1:]),
    }
    path = Path(__file__).parent / "results" / f"mmseg_peer_{environment()}_{options.threads}.csv"
    write_rows(path, [{**about, **row} for row in rows])
    print(path)


if __name__ == "__main__":
    main()
