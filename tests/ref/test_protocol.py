"""Test protocols: validation, hash, window positions and sizes."""

import dataclasses
import json

import pytest

from semseg_ref.base.errors import OptionError
from semseg_ref.config import CfgNode
from semseg_ref.protocol import (
    LATER_FIELDS,
    MULTI_SCALES,
    Protocol,
    named_protocol,
    padding,
    protocol_from_cfg,
    scaled_size,
    semseg_ms,
    semseg_ss,
    whole,
    window_positions,
)
from support.golden.inputs import MEAN, STD, load_golden

WINDOWS = load_golden("tester_windows_reference.json")


@pytest.mark.parametrize("case", WINDOWS, ids=lambda c: f"{c['h']}x{c['w']}-{c['crop_h']}x{c['crop_w']}")
def test_windows_of_the_reference(case):
    crop = case["crop_h"], case["crop_w"]
    top, bottom, left, right = padding(case["h"], case["w"], crop)
    assert [top, left] == case["pad_top_left"]
    windows = window_positions(case["h"] + top + bottom, case["w"] + left + right, crop)
    assert [list(window) for window in windows] == case["windows"]


@pytest.mark.parametrize(
    "case", ["landscape_ss", "landscape_ms", "portrait_ms", "small_padded", "three_images", "zoom1"]
)
def test_scaled_sizes_and_padding_of_the_reference(case):
    meta = load_golden(f"tester_{case}")["meta"]
    for image in meta["images"]:
        for scale in image["scales"]:
            size = scaled_size(image["image"]["h"], image["image"]["w"], scale["scale"], meta["base_size"])
            assert size == (scale["new_h"], scale["new_w"])
            top, _, left, _ = padding(*size, meta["crop"])
            assert (top, left) == (scale["pad_top"], scale["pad_left"])


def test_scaled_size_rounds_half_to_even():
    assert scaled_size(10, 20, 0.5, 5) == (1, 2)
    assert scaled_size(20, 10, 0.5, 7) == (4, 2)


def test_defaults_are_the_references():
    protocol = semseg_ss()
    assert protocol.crop == (713, 713)
    assert protocol.scales == (1.0,)
    assert protocol.flip
    assert protocol.stride_rate == 2 / 3
    assert list(protocol.mean) == MEAN
    assert list(protocol.std) == STD
    assert semseg_ms().scales == MULTI_SCALES
    assert whole().crop == (1025, 2049)
    assert not whole().flip


def test_hash_covers_every_value_except_the_name():
    base = Protocol((713, 713), 2048)
    changed = {
        "crop": (705, 713),
        "base_size": 1024,
        "scales": (0.5, 1.0),
        "flip": False,
        "stride_rate": 0.5,
        "mean": (0, 0, 0),
        "std": None,
    }
    hashes = {Protocol(**{**base.to_dict(), key: value}).hash for key, value in changed.items()}
    assert len(hashes | {base.hash}) == len(changed) + 1
    assert base.hash == semseg_ss().hash
    assert Protocol([713, 713], 2048, scales=[1]).hash == base.hash
    # Score files carry this value: it must never change.
    assert base.hash == "61fdd20f8491"


@pytest.mark.parametrize("name", ["semseg-ss", "semseg-ms", "whole"])
def test_dict_round_trip_through_json(name):
    protocol = named_protocol(name)
    assert protocol.name == name
    assert Protocol.from_dict(json.loads(json.dumps(protocol.to_dict()))) == protocol


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": (0, 713)}, "crop 0: expected a positive whole number"),
        ({"crop": 713}, "expected .height, width."),
        ({"crop": (713.0, 713)}, "whole number"),
        ({"base_size": 0}, "base_size 0"),
        ({"base_size": True}, "base_size True"),
        ({"scales": ()}, "scales"),
        ({"scales": (1.0, -1)}, "scales"),
        ({"scales": 1.0}, "scales"),
        ({"scales": (float("nan"),)}, "scales"),
        ({"stride_rate": 0}, "stride_rate"),
        ({"stride_rate": 1.5}, "gaps"),
        ({"mean": (1, 2)}, "mean"),
        ({"std": (1, 0, 1)}, "std"),
        ({"flip": 1}, "flip"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(OptionError, match=message):
        Protocol(**{"crop": (713, 713), "base_size": 2048, **values})


def test_from_dict_names_unknown_and_missing_keys():
    with pytest.raises(OptionError, match="did you mean 'scales'"):
        Protocol.from_dict({"crop": (713, 713), "base_size": 2048, "scale": [1.0]})
    with pytest.raises(OptionError, match="'base_size' is missing"):
        Protocol.from_dict({"crop": (713, 713)})


def test_named_protocol_errors():
    with pytest.raises(OptionError, match="did you mean 'semseg-ss'"):
        named_protocol("semseg_ss")
    with pytest.raises(OptionError, match=r"semseg-ss.*basesize"):
        named_protocol("semseg-ss", basesize=5)


def test_protocol_of_a_config():
    cfg = CfgNode({"test_h": 713, "test_w": 713, "base_size": 2048, "scales": [1.0]})
    assert protocol_from_cfg(cfg) == semseg_ss()
    cfg.scales = list(MULTI_SCALES)
    assert protocol_from_cfg(cfg) == semseg_ms()
    cfg.scales = [0.5]
    assert protocol_from_cfg(cfg).name is None
    del cfg["test_w"]
    with pytest.raises(OptionError, match="test_w"):
        protocol_from_cfg(cfg)


@pytest.mark.parametrize(
    ("sides", "message"), [((709, 713), "crop 709.*705 or 713"), ((5, 9), "nearest: 9$"), ((9, 1), "nearest: 9$")]
)
def test_an_official_config_is_of_networks_that_take_certain_sides(sides, message):
    cfg = CfgNode({"test_h": sides[0], "test_w": sides[1], "base_size": 2048, "scales": [1.0]})
    with pytest.raises(OptionError, match=message):
        protocol_from_cfg(cfg)


BEYOND = {
    "rounding": "half_up",
    "resize": "pillow",
    "pad_to": 32,
    "pad_at": "end",
    "pad_value": (0, 0, 0),
    "stride": (100, 200),
    "softmax": "view",
    "mirrored": "image",
    "resize_back": "nearest",
}


def test_a_later_field_at_its_default_is_not_in_the_dict_and_changes_no_hash():
    base = Protocol((713, 713), 2048)
    assert set(LATER_FIELDS) == set(BEYOND)
    assert not set(base.to_dict()) & set(BEYOND)
    assert base.beyond_reference == {}
    # Of score files: they must never change.
    assert [each.hash for each in (semseg_ms(), whole())] == ["9fda5311494f", "975939b18d1c"]
    others = [dataclasses.replace(base, **{key: value}) for key, value in BEYOND.items()]
    others += [dataclasses.replace(base, base_size="image"), dataclasses.replace(base, base_size=(2048, 1024))]
    others.append(Protocol("image", 2048, pad_to="none"))
    assert len({each.hash for each in others} | {base.hash}) == len(others) + 1
    for each in others:
        assert each.beyond_reference
        assert Protocol.from_dict(json.loads(json.dumps(each.to_dict()))) == each


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": "whole"}, "crop 'whole': expected .height, width. or 'image'"),
        ({"base_size": "own"}, "base_size 'own'"),
        ({"base_size": (2048, 0)}, "base_size 0"),
        ({"softmax": "views"}, "softmax 'views'; did you mean 'view'"),
        ({"resize": "cv2"}, "resize 'cv2'"),
        ({"pad_to": "multiple"}, "pad_to 'multiple': expected crop, none or a number of pixels"),
        ({"pad_to": 0}, "pad_to 0"),
        ({"pad_value": (0, 0)}, "pad_value"),
        ({"stride": (0, 5)}, "stride 0"),
        ({"stride": (5, 800)}, "stride .5, 800.: expected no more than the crop"),
        ({"stride": (5, 5), "stride_rate": 0.5}, "stride .5, 5. beside stride_rate 0.5: one of the two"),
        ({"crop": "image"}, "pad_to crop: crop is the image"),
        ({"crop": "image", "pad_to": "none", "stride": (5, 5)}, "stride .5, 5.: crop is the image"),
        ({"crop": "image", "pad_to": "none", "stride_rate": 0.5}, "stride_rate 0.5: crop is the image"),
        ({"pad_to": "none", "pad_value": (0, 0, 0)}, "pad_value .*: nothing is padded"),
        ({"flip": False, "mirrored": "image"}, "mirrored image: nothing is mirrored"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(values, message):
    with pytest.raises(OptionError, match=f"^protocol: {message}"):
        Protocol(**{"crop": (713, 713), "base_size": 2048, **values})
