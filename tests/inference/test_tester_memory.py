"""The tester where memory is short, and what it holds: no image vanishes, and nothing grows with their number."""

import numpy as np
import pytest
import torch

from catalyst_cityscapes.inference import class_maps
from catalyst_cityscapes.inference.buffers import BufferPool
from catalyst_cityscapes.inference.class_maps import DeviceMap
from catalyst_cityscapes.inference.folder import Labels
from catalyst_cityscapes.inference.folder import test_images as run_test
from catalyst_cityscapes.inference.predictor import Predictor
from semseg_ref.base.errors import InputError
from semseg_ref.protocol import Protocol
from support.golden.inputs import rec_image
from support.networks.context import COLORS, PROTOCOL, ContextNet, write_city

pytestmark = pytest.mark.usefixtures("one_thread")


class Narrow(ContextNet):
    """Runs out of memory on batches of more than `most` windows with their mirror images."""

    def __init__(self, most):
        super().__init__()
        self.most, self.sizes = most, []

    def forward(self, x):
        self.sizes.append(len(x) // 2)
        if len(x) > 2 * self.most:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
        return super().forward(x)


def test_a_batch_that_does_not_fit_is_halved_for_good(tmp_path):
    image, model = rec_image(1, 45, 90), Narrow(2)
    predictor = Predictor(model, PROTOCOL, "fast", batch=10)
    found = predictor.predict(image)
    expected = Predictor(ContextNet(), PROTOCOL, "fast").predict(image).decide()[0]
    np.testing.assert_array_equal(found.decide()[0].numpy(), expected.numpy())
    assert (predictor.batch, predictor.halvings) == (2, 2)
    tried = len(model.sizes)
    predictor.predict(image)
    assert set(model.sizes[tried:]) <= {1, 2}
    assert "2 windows and its mirror image at once, halved 2 times" in predictor.describe()
    with pytest.raises(InputError, match="one window of 33 x 33 does not fit"):
        Predictor(Narrow(0), PROTOCOL, "fast", batch=4).predict(image)


@pytest.mark.parametrize("place", ["OneScaleMap.add", "HostMap.add", "DeviceMap.add", "ClassMap.decide"])
def test_no_image_vanishes_where_memory_runs_out_in_its_map(place, tmp_path, monkeypatch):
    kind, method = place.split(".")
    original, calls = getattr(getattr(class_maps, kind), method), []

    def short_of_memory(self, *arguments):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory (simulated)")
        return original(self, *arguments)

    monkeypatch.setattr(getattr(class_maps, kind), method, short_of_memory)
    if kind == "DeviceMap":
        monkeypatch.setattr(
            Predictor, "_new_map", lambda self, image, scale, k: DeviceMap(image.size, k, scale.scales, self.pool)
        )
    protocol = PROTOCOL if kind in ("OneScaleMap", "ClassMap") else Protocol((33, 33), 60)
    pairs = write_city(tmp_path, ContextNet(), protocol, [(45, 90)] * 3)
    with pytest.raises(InputError, match=r"image 2 of the list: .* does not fit into the GPU's memory; .*--batch 1"):
        run_test(ContextNet(), pairs, protocol, tmp_path / "out", COLORS, mode="fast", batch=3)


def test_an_image_that_never_comes_is_no_score(tmp_path, monkeypatch):
    pairs = write_city(tmp_path, ContextNet(), PROTOCOL, [(45, 90)] * 3)
    monkeypatch.setattr(Predictor, "run", lambda self, scales: (pair for pair in ()))
    with pytest.raises(RuntimeError, match="0 of 3 images were predicted"):
        run_test(ContextNet(), pairs, PROTOCOL, tmp_path / "out", COLORS, labels=Labels(["c"] * 19))
    monkeypatch.undo()
    monkeypatch.setattr(Predictor, "_done", lambda self, window: None)
    with pytest.raises(RuntimeError, match="image 0: all windows are through"):
        Predictor(ContextNet(), PROTOCOL).predict(rec_image(1, 45, 90))


def test_a_run_that_was_given_up_leaves_nothing_to_the_next(tmp_path):
    model = Narrow(0)
    predictor = Predictor(model, PROTOCOL, "fast", batch=4)
    with pytest.raises(InputError):
        predictor.predict(rec_image(1, 45, 90))
    model.most = 4
    found, expected = (p.predict(rec_image(2, 45, 90)) for p in (predictor, Predictor(ContextNet(), PROTOCOL, "fast")))
    np.testing.assert_array_equal(found.decide()[0].numpy(), expected.decide()[0].numpy())


def test_memory_does_not_grow_with_the_number_of_images():
    for mode, batch in (("exact", None), ("fast", 16)):
        held = []
        for count in (4, 16):
            predictor = Predictor(ContextNet(), Protocol((33, 33), 90, (0.5, 1.0, 1.5)), mode, batch)
            images = [rec_image(k, 45 + k % 3, 90 - k % 2) for k in range(count)]
            scales = (
                predictor.prepare(image.astype(np.float32), s, k) for k, image in enumerate(images) for s in range(3)
            )
            indices = [index for index, found in predictor.run(scales) if found.decide()[1]]
            assert indices == list(range(count))
            held.append(predictor.pool.allocated_bytes + predictor.pixel_pool.allocated_bytes)
        assert held[1] <= held[0] * 1.1


def test_buffers_are_used_again():
    pool = BufferPool(torch.device("cpu"))
    first = pool.take((10, 10), torch.float64)
    pool.give(first)
    second = pool.take((5,), torch.float32)
    assert second.data_ptr() == first.data_ptr()
    pool.give(second)
    pool.give(pool.take((20, 10), torch.float64))
    assert pool.allocated_bytes == 1600
