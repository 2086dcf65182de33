"""What each protocol does, in words, and means without what does not occur."""

import pytest

from catalyst_cityscapes.inference.described import described
from catalyst_cityscapes.recipe.protocols import named
from catalyst_cityscapes.report.table import occurring_text, print_protocols, print_score, print_scores, text_of
from semseg_ref.base.errors import InputError
from semseg_ref.protocol import Protocol, semseg_ms

ROWS = [("road", 0.8, 10), ("wall", 0.0, 0), ("sky", 0.0, 0)]


def a_score(protocol, **values):
    return {
        "experiment": "city",
        "epoch": 3,
        "mIoU": 0.2667,
        "mAcc": 0.2667,
        "allAcc": 0.8,
        "images": 5,
        "list": "val.txt",
        "classes": [{"name": name, "iou": iou, "accuracy": iou, "pixels": pixels} for name, iou, pixels in ROWS],
        "protocol": {**protocol.to_dict(), "hash": protocol.hash},
        "checkpoint": {"path": "last.pth", "sha256": "ab"},
        **values,
    }


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        (
            named("mmseg-slide", stride=(513, 513), resize_back="bilinear_aligned"),
            {
                "image fitted into": "1025 x 2049",
                "resized by": "OpenCV, whole grey levels",
                "padded": "no",
                "window": "769 x 769",
                "stride": "513 x 513",
                "mirrored": "nothing",
                "averaged": "logits",
                "back to the image's size": "bilinear, aligned corners",
            },
        ),
        (
            semseg_ms(),
            {
                "image fitted into": "long side 2048",
                "scales": "0.5, 0.75, 1, 1.25, 1.5, 1.75",
                "stride": "476 x 476",
                "mirrored": "each window",
                "padded": "to the window, on all sides",
                "averaged": "probabilities of windows",
                "classes that occur nowhere": "count as 0",
            },
        ),
        (
            named("mmseg-tta", pad_to=32),
            {
                "image fitted into": "its own size",
                "window": "the image",
                "stride": "-",
                "mirrored": "the whole image",
                "padded": "to multiples of 32, right, bottom",
                "averaged": "logits of windows, then probabilities",
            },
        ),
        (
            Protocol((9, 9), 20, scorer="cityscapesscripts"),
            {"classes that occur nowhere": "left out of the mean"},
        ),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_steps_in_words(protocol, expected):
    found = described(protocol, align_corners=True)
    assert {key: found[key] for key in expected} == expected
    assert found["logits to the window"] == "aligned corners"
    assert described(protocol)["logits to the window"] == "-"


def test_columns_of_one_checkpoint_and_of_two():
    slide, whole = named("mmseg-slide"), named("mmseg-whole")
    occurring = {"mIoU": 0.4, "mAcc": 0.8, "absent": ["sky"]}
    scores = [("a", a_score(slide, occurring=occurring)), ("b", a_score(whole, align_corners=False))]
    text = text_of(lambda console: print_protocols(scores, console))
    assert "2 protocols, one checkpoint" in text
    assert "0.4000" in text
    assert "no aligned corners" in text
    others = [*scores, ("c", a_score(whole, checkpoint={"path": "best.pth", "sha256": "cd"}))]
    text = text_of(lambda console: print_protocols(others, console))
    assert "NOT ONE CHECKPOINT" in text
    assert "2 checkpoints, 1 sets of images: the columns differ by more than the protocol" in text
    with pytest.raises(InputError, match=r"^d: its protocol is not recorded"):
        print_protocols([("d", {**a_score(slide), "protocol": None})])


def test_means_without_what_does_not_occur_stand_beside_ours():
    score = a_score(named("mmseg-whole"), occurring={"mIoU": 0.4, "mAcc": 0.8, "absent": ["sky"]})
    line = (
        "mIoU 0.4000 over 2 of 3 classes (1 left out, in no label and no prediction), mAcc 0.8000 over the 1 in the "
        "labels"
    )
    assert line in occurring_text(score)
    assert line in " ".join(text_of(lambda console: print_score(score, None, console)).split())
    assert line in text_of(lambda console: print_scores([("a", score)], console))
    nothing = a_score(named("mmseg-whole"), occurring={"mIoU": None, "mAcc": None, "absent": []})
    assert "mIoU - over 3 of 3" in occurring_text(nothing)
