"""Whole, slide and multi-scale tests of mmsegmentation's networks against its own predictions (1.2.2).

Left out for its time: slide_pspnet_r50_769style, as slide_pspnet_r18_769style on a deeper backbone.
"""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from catalyst_cityscapes.inference import predict
from catalyst_cityscapes.inference.geometry import size_at, views
from catalyst_cityscapes.inference.predictor import Predictor
from catalyst_cityscapes.recipe.protocols import named
from semseg_ref.protocol import Protocol
from semseg_ref.tester import decide
from support.golden.inputs import load_golden, rec_image
from support.golden.mmseg_networks import filled

CASES = (
    "whole_segnext_t_pad32",
    "slide_pspnet_r18_769style",
    "slide_deeplabv3plus_r18",
    "whole_hrnet_w18",
    "whole_ocrnet_w18_odd",
    "slide_smaller_than_crop_segformer_b0",
    "slide_segformer_b0",
)
"""Those of one network together: its weights are drawn once."""
IN_BATCHES = ("whole_segnext_t_pad32", "slide_pspnet_r18_769style")
pytestmark = pytest.mark.golden


def protocol_in(meta: dict) -> Protocol:
    """The protocol that a golden file's `meta` describes."""
    test = meta["test_cfg"]
    values = {"base_size": tuple(meta["test_scale"])}
    if meta["align_corners"]:
        values["resize_back"] = "bilinear_aligned"
    if meta["preprocessor_test_cfg"]:
        values["pad_to"] = meta["preprocessor_test_cfg"]["size_divisor"]
    if test["mode"] == "whole":
        return named("mmseg-whole", **values)
    return named("mmseg-slide", crop=tuple(test["crop_size"]), stride=tuple(test["stride"]), **values)


def check_classes(found: np.ndarray, expected: np.ndarray, scores: np.ndarray, tolerance: float) -> None:
    """Classes are equal wherever the best two scores [H, W, K] are further apart than the tolerance."""
    best = np.sort(scores, axis=2)[:, :, -2:]
    is_sure = best[:, :, 1] - best[:, :, 0] > tolerance
    assert is_sure.mean() > 0.99
    np.testing.assert_array_equal(found[is_sure], expected[is_sure])


@pytest.mark.parametrize("case", CASES)
def test_whole_and_slide(case):
    golden = load_golden(f"mmseg/infer_{case}.npz")
    meta = golden["meta"]
    image = rec_image(meta["image"]["seed"], meta["image"]["h"], meta["image"]["w"])
    network, protocol = filled(meta["model"], meta["align_corners"]).eval(), protocol_in(meta)
    assert list(size_at(protocol, *image.shape[:2], 1.0)) == meta["network_input_shape"][1:]
    tolerance, sub = max(10 * meta["max_abs_gap_f32_f64"], 1e-4), meta["sub"]
    seed = meta["ham_torch_seed"]

    torch.manual_seed(seed or 0)
    scores = predict(network, image, protocol)
    assert [scores.shape[2], *scores.shape[:2]] == meta["logits_shape"]
    np.testing.assert_allclose(scores.transpose(2, 0, 1)[:, ::sub, ::sub], golden["logits_sub"], rtol=0, atol=tolerance)
    # A softmax moves by at most half of what its logits move by.
    probabilities = softmax(scores, axis=2).transpose(2, 0, 1)[:, ::sub, ::sub]
    np.testing.assert_allclose(probabilities, golden["prob_sub"], rtol=0, atol=tolerance)
    check_classes(decide(scores), golden["pred"], scores, tolerance)

    if case not in IN_BATCHES:
        return
    # Of a folded copy, with sums in float32.
    torch.manual_seed(seed or 0)
    fast = Predictor(network, protocol, "fast", batch=1 if seed else 3).predict(image)
    np.testing.assert_allclose(fast.probabilities(), scores, rtol=0, atol=tolerance)
    check_classes(fast.decide()[0].numpy(), golden["pred"], scores, 2 * tolerance)


def test_several_scales_each_plain_and_mirrored():
    golden = load_golden("mmseg/infer_tta_segformer_b0.npz")
    meta = golden["meta"]
    image = rec_image(meta["image"]["seed"], meta["image"]["h"], meta["image"]["w"])
    test = meta["test_cfg"]
    protocol = named(
        "mmseg-tta", scales=tuple(meta["ratios"]), crop=tuple(test["crop_size"]), stride=tuple(test["stride"])
    )
    seen_as = [[[3, *size_at(protocol, *image.shape[:2], s)], mirrored, [s, s]] for s, mirrored in views(protocol)]
    assert seen_as == meta["views_shape_flip_scale"]

    network, sub = filled("segformer_b0", align_corners=False).eval(), meta["sub"]
    scores = predict(network, image, protocol)
    # The logits of this network on such images are within 1e-4 (the cases above); their softmax is within half of it.
    np.testing.assert_allclose(scores.transpose(2, 0, 1)[:, ::sub, ::sub], golden["prob_sub"], rtol=0, atol=1e-4)
    check_classes(decide(scores), golden["pred"][0], scores, 1e-4)
