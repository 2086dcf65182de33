"""Named protocols in recipes and on the command line, the score file, tables of scores."""

import json
import os
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from rich.console import Console

from catalyst_cityscapes.evaluation.score_run import predict_test_split, score_checkpoint
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.named_protocols import NAMED
from catalyst_cityscapes.recipe.protocols import named, protocol_of
from catalyst_cityscapes.recipe.schema import ProtocolSection
from catalyst_cityscapes.recipe.translation import recipe_to_official
from catalyst_cityscapes.report.score_summary import show_score
from catalyst_cityscapes.report.table import incomparable, print_scores
from catalyst_cityscapes.runs.folder import to_yaml
from catalyst_cityscapes.toy_city import build_toy_city
from semseg_ref.base.errors import DataError, InputError, OptionError
from semseg_ref.protocol import MULTI_SCALES, Protocol, named_protocol, official, semseg_ms, semseg_ss, whole
from support.cities.scoring import SIZE
from support.command_line import catalyst_dl
from support.runs.tiny import VAL_IMAGES, recipe_of, train

pytestmark = pytest.mark.usefixtures("one_thread", "workdir")


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return build_toy_city(tmp_path_factory.mktemp("city") / "city", 4, VAL_IMAGES, 2, *SIZE)


# -- names ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "expected"),
    [("semseg-ss", semseg_ss()), ("semseg-ms", semseg_ms()), ("official", official()), ("whole", whole(1024, 2048))],
)
def test_a_name_alone_is_the_whole_protocol(name, expected):
    for settings in ([f"protocol.name={name}"], [f"protocol={{name: {name}}}"]):
        recipe = load_recipe(["cityscapes/pspnet50"], settings)
        assert recipe.protocol.name == name
        assert recipe.protocol.value((1024, 2048)) == expected
    assert len({protocol.hash for protocol in (semseg_ss(), semseg_ms(), official(), whole())}) == 4


def test_name_without_any_other_protocol_key(tmp_path):
    text = Path(to_recipe_file(tmp_path)).read_text()
    start = text.index("protocol:\n")
    end = text.index("expected:")
    for name in ("semseg-ms", "official"):
        Path("own.yml").write_text(f"{text[:start]}protocol:\n  name: {name}\n{text[end:]}")
        section = load_recipe(["own.yml"]).protocol
        assert section.crop == (713, 713)
        assert section.is_open
        assert section.value((720, 960)).base_size == 960
        assert section.value((1024, 2048)) == named_protocol(name)
        with pytest.raises(OptionError, match="open until the size of the images is known"):
            section.value()


def to_recipe_file(folder):
    path = folder / "complete.yml"
    path.write_text(to_yaml(load_recipe(["cityscapes/pspnet50"])))
    return path


def test_names_replace_each_other_through_layers(tmp_path):
    path = to_recipe_file(tmp_path)  # complete, as in a run folder
    ms = load_recipe([path], ["protocol.name=semseg-ms"]).protocol
    assert (ms.scales, ms.flip, ms.crop, ms.base_size) == (MULTI_SCALES, True, (713, 713), 2048)
    Path("whole.yml").write_text("protocol:\n  name: whole\n")
    section = load_recipe([path, "whole.yml"]).protocol
    assert (section.crop, section.base_size, section.flip) == (None, None, False)
    back = load_recipe([path, "whole.yml"], ["protocol.name=semseg-ss"]).protocol
    assert back.value((1024, 2048)) == semseg_ss()
    Path("snapshot.yml").write_text(to_yaml(load_recipe([path, "whole.yml"])))
    assert load_recipe(["snapshot.yml"]) == load_recipe([path, "whole.yml"])


def test_no_protocol_carries_the_name_of_another():
    section = load_recipe(["cityscapes/pspnet50"], ["protocol.flip=false"]).protocol
    assert (section.name, section.flip) == (None, False)
    assert load_recipe(["cityscapes/pspnet50"], ["protocol.base_size=1024"]).protocol.name == "semseg-ss"
    with pytest.raises(
        InputError, match=r"--set: protocol.scales: \[1.0\] contradicts the name 'semseg-ms', which means"
    ):
        load_recipe(["cityscapes/pspnet50"], ["protocol.name=semseg-ms", "protocol.scales=[1.0]"])
    with pytest.raises(InputError, match=r"protocol.name: Input should be 'semseg-ss', 'semseg-ms', 'whole', 'offi"):
        load_recipe(["cityscapes/pspnet50"], ["protocol.name=semseg_ss"])
    with pytest.raises(InputError, match="crop: is missing"):
        load_recipe(["cityscapes/pspnet50"], ["protocol.name=null", "protocol.crop=null"])


def test_protocol_of_takes_the_images_size(city):
    recipe = recipe_of(city, "protocol={name: whole}")
    pairs = [(str(next(city.rglob("*_leftImg8bit.png"))), "")]
    protocol = protocol_of(recipe, pairs)
    assert (protocol.crop, protocol.base_size, protocol.name) == ((65, 129), 128, "whole")
    with pytest.raises(DataError):
        protocol_of(recipe, [("gone.png", "")])


def test_scorer_is_part_of_the_hash_only_where_it_is_not_the_references():
    assert semseg_ss().hash == "61fdd20f8491"
    assert official().hash != semseg_ss().hash
    assert Protocol.from_dict(official().to_dict()) == official()
    before = {key: value for key, value in semseg_ss().to_dict().items() if key != "scorer"}
    assert Protocol.from_dict(before).hash == semseg_ss().hash
    with pytest.raises(OptionError, match="did you mean 'semseg'"):
        Protocol((713, 713), 2048, scorer="semsegg")


def test_control_arm_names_what_it_cannot_do():
    for setting in ("validation.protocol=test", "validation.images=3"):
        with pytest.raises(InputError, match=f"cannot express {setting.partition('=')[0]}"):
            recipe_to_official(load_recipe(["toy/pspnet50"], ["validation.every=1", setting]))
    with pytest.raises(InputError, match="cannot express protocol"):
        recipe_to_official(load_recipe(["toy/pspnet50"], ["protocol.name=whole"]))
    assert recipe_to_official(load_recipe(["toy/pspnet50"], ["protocol.name=semseg-ms"])).scales == list(MULTI_SCALES)


# -- the test command ----------------------------------------------------------------------------------------------
@pytest.fixture
def run_folder(city):
    """A trained run in `run`."""
    train(recipe_of(city))
    return Path("run")


def score_files():
    return {path.parent.name: json.loads(path.read_text()) for path in Path("run/result").rglob("score.json")}


def test_command_line_protocols_and_their_table(run_folder, city, capsys):
    for arguments in ([], ["--protocol", "semseg-ms"], ["--protocol", "whole"], ["--protocol", "official"]):
        assert catalyst_dl("test", "--run", "run", "--trust", "support", *arguments) == 0
    scores = score_files()
    by_name = {score["protocol"]["name"]: score for score in scores.values()}
    assert set(by_name) == {"semseg-ss", "semseg-ms", "whole", "official"}
    assert by_name["semseg-ms"]["protocol"]["scales"] == list(MULTI_SCALES)
    assert by_name["whole"]["protocol"]["crop"] == [65, 129]
    assert all(name == f"{score['protocol']['name']}-{score['protocol']['hash']}" for name, score in scores.items())
    single, scored = by_name["semseg-ss"], by_name["official"]
    assert scored["official"]["own"]["mIoU"] == single["mIoU"]
    assert scored["mIoU"] == scored["official"]["means"]["IoU class"]
    assert scored["official"]["largest_difference"] <= 1e-9
    capsys.readouterr()

    assert catalyst_dl("evaluate", "--run", "run") == 0
    newest = max(Path("run/result").rglob("official.json"), key=lambda path: path.stat().st_mtime)
    content = json.loads(newest.read_text())
    assert content["protocol"]["hash"] == scored["protocol"]["hash"]
    assert content["checkpoint"] == scored["checkpoint"]
    assert content["means"]["IoU class"] == scored["mIoU"]
    assert "score.json says" not in capsys.readouterr().out

    assert catalyst_dl("scores", "run") == 0
    output = capsys.readouterr().out
    assert "NOT COMPARABLE" in output
    assert "not comparable: 4 different protocols: " in output
    assert catalyst_dl("scores", *Path("run/result").rglob("semseg-ss*/score.json")) == 0
    output = capsys.readouterr().out
    assert "comparable" not in output.lower()
    assert "1 scores of one protocol" in output


def test_score_file_has_all_that_a_reader_asks_for(run_folder, city):
    assert catalyst_dl("test", "--run", "run", "--trust", "support") == 0
    (score,) = score_files().values()
    assert {"mIoU", "mAcc", "allAcc", "classes", "protocol", "checkpoint", "versions", "matrices"} <= set(score)
    assert {"torch", "numpy", "cv2"} <= set(score["versions"])
    assert set(score["code"]) == {"version", "git", "python"}
    assert len(score["list_sha256"]) == len(score["checkpoint"]["sha256"]) == 64
    assert len(score["protocol"]["hash"]) == 12
    folder = next(Path("run/result").rglob("score.json")).parent
    with np.load(folder / score["matrices"]) as arrays:
        assert arrays["matrices"].shape == (VAL_IMAGES, 19, 19)
        np.testing.assert_array_equal(arrays["matrices"].sum(axis=(0, 2)), [row["pixels"] for row in score["classes"]])


def test_predictions_of_the_test_split_become_a_submission(run_folder, city, capsys):
    arguments = ["--run", "run", "--trust", "support", "--split", "test"]
    assert catalyst_dl("test", *arguments) == 0
    (folder,) = Path("run/result/epoch_1/test").iterdir()
    assert len(list((folder / "gray").iterdir())) == 2
    assert not (folder / "score.json").exists()
    content = json.loads((folder / "predictions.json").read_text())
    assert (content["images"], content["protocol"]["name"]) == (2, "semseg-ss")
    assert catalyst_dl("submit", "--run", "run") == 0
    assert (folder / "submission.zip").is_file()
    capsys.readouterr()
    assert catalyst_dl("test", *arguments, "--config", "x") == 2
    recipe = recipe_of(city, "data.test_list=null")
    with pytest.raises(InputError, match=r"data\.test_list: not set"):
        predict_test_split(recipe, Path("run/model/last.pth"))
    with pytest.raises(DataError, match="2 fields separated by one space, expected 1"):
        predict_test_split(recipe_of(city, f"data.test_list={city}/list/fine_val.txt"), Path("run/model/last.pth"))


def test_official_protocol_checks_the_ground_truth_before_it_predicts(run_folder, city, tmp_path, capsys):
    lines = (city / "list" / "fine_val.txt").read_text().splitlines()
    image, label = lines[0].split(" ")
    (tmp_path / "label.png").write_bytes((city / label).read_bytes())
    (tmp_path / "bonn_000000_000019_gtFine_labelTrainIds.png").write_bytes((city / label).read_bytes())
    for name, message in {
        "label.png": "the official scorer is Cityscapes' own",
        "bonn_000000_000019_gtFine_labelTrainIds.png": "bonn_000000_000019_gtFine_labelIds.png: no such file",
    }.items():
        Path("list.txt").write_text(f"{city / image} {tmp_path / name}\n")
        recipe = recipe_of(city, "protocol={name: official}", "data.val_list=list.txt", "data.root=/")
        with pytest.raises(DataError, match=message):
            score_checkpoint(recipe, Path("run/model/last.pth"), Path("out"), device="cpu")
    assert not Path("out").exists()


# -- tables --------------------------------------------------------------------------------------------------------
def a_score(name="semseg-ss", crop=(713, 713), **values):
    protocol = Protocol(crop, 2048, name=name)
    means = dict.fromkeys(("mIoU", "mAcc", "allAcc"), 0.5)
    entry = {**protocol.to_dict(), "hash": protocol.hash}
    return {**means, "images": 500, "list": "val.txt", "list_sha256": "a", "protocol": entry, **values}


def test_scores_are_compared_only_under_one_protocol_and_set():
    assert incomparable([a_score(), a_score(name="mine")]) == []  # the values count, not the name
    assert incomparable([a_score(), a_score()]) == []
    assert incomparable([a_score(), a_score(crop=(705, 705))])[0].startswith("2 different protocols: semseg-ss ")
    assert (
        "different sets of images: val.txt (500 images), val.txt (50 images)"
        in incomparable([a_score(), a_score(images=50)])[0]
    )
    assert incomparable([a_score(protocol=None)]) == ["the protocol is not recorded"]
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_scores([("a", a_score(experiment="one", epoch=3)), ("b", a_score(crop=(705, 705)))], console)
    text = console.export_text()
    assert "NOT COMPARABLE" in text
    assert "one" in text
    assert "b" in text


def test_scores_errors(tmp_path, capsys):
    (tmp_path / "x.json").write_text("{}")
    for path, message in {"gone": "gone: no score.json here", "x.json": "it lacks mIoU, mAcc"}.items():
        assert catalyst_dl("scores", path) == 2
        assert message in capsys.readouterr().err


def test_published_number_of_another_protocol_is_no_target(run_folder, city, capsys):
    published = "expected={mIoU: 0.773, protocol: semseg-ss, tolerance: 0.01, source: x}"
    for setting, message in {
        "protocol={name: semseg-ss}": "below the published 0.7730",
        "protocol={name: whole}": "the published 0.7730 is of protocol semseg-ss, this score is not",
    }.items():
        recipe = recipe_of(city, published, setting)
        show_score(score_checkpoint(recipe, Path("run/model/last.pth"), device="cpu"), recipe.expected)
        assert message in " ".join(capsys.readouterr().out.split())


# -- protocols of other families -----------------------------------------------------------------------------------
def test_names_of_other_families_in_recipes():
    def section(*settings):
        return load_recipe(["cityscapes/pspnet50"], settings).protocol

    size = (1024, 2048)
    assert section("protocol.name=mmseg-whole").value(size) == named("mmseg-whole")
    assert section("protocol.name=mmseg-tta").value(size) == named("mmseg-tta")
    assert not section("protocol.name=mmseg-tta").is_open
    slide = section("protocol={name: mmseg-slide, stride: [513, 513], resize_back: bilinear_aligned}")
    assert slide.name == "mmseg-slide"
    assert slide.value((720, 960)).base_size == (960, 720)
    assert slide.value(size).stride == (513, 513)
    assert slide.value(size).crop == (713, 713)  # data.crop
    assert section("protocol.name=mmseg-whole", "protocol.pad_to=32").name == "mmseg-whole"
    with pytest.raises(InputError, match=r"protocol\.softmax: view contradicts the name 'mmseg-whole', which means"):
        section("protocol.name=mmseg-whole", "protocol.softmax=view")
    assert section("protocol.softmax=view").name is None
    with pytest.raises(InputError, match=r"--set: protocol\.pad_to: crop: crop is the image"):
        section("protocol.crop=image")
    for setting, message in {
        "crop=img": "expected image, or numbers",
        "base_size=[3]": r"base_size\.1: missing",
        "pad_to=all": "expected crop or none, or numbers",
        "pad_to=0": "Input should be greater than 0",
    }.items():
        with pytest.raises(InputError, match=message):
            section(f"protocol.{setting}")


def test_names_of_the_table_are_those_of_the_schema(tmp_path):
    names = get_args(get_args(ProtocolSection.model_fields["name"].annotation)[0])
    assert names == tuple(NAMED)
    path = to_recipe_file(tmp_path)
    for name in NAMED:
        one = load_recipe([path], [f"protocol.name={name}"])
        assert one.protocol.name == one.protocol.value((1024, 2048)).name == name
        Path("snapshot.yml").write_text(to_yaml(one))
        assert load_recipe(["snapshot.yml"]) == one
        back = load_recipe(["snapshot.yml"], ["protocol.name=semseg-ss"]).protocol
        assert back.value((1024, 2048)) == semseg_ss()
    with pytest.raises(OptionError, match="did you mean 'mmseg-whole'"):
        named("mmseg_whole")
    with pytest.raises(OptionError, match="unknown key 'strides'; did you mean 'stride'"):
        named("mmseg-slide", strides=(1, 1))


def test_a_familys_protocols_leave_each_other_the_networks_own(tmp_path):
    """Its recipe's box, multiple and aligned corners; windows go with what has any."""
    slide = "{name: mmseg-slide, base_size: [129, 65], crop: [49, 49], stride: [33, 33], resize_back: bilinear_aligned}"

    def under(name, protocol=slide):
        (tmp_path / "recipe.yml").write_text(f"base: toy/pspnet50\nprotocol: {protocol}\n")
        recipe = load_recipe([str(tmp_path / "recipe.yml")], [f"protocol.name={name}"])
        assert recipe.protocol.name == name
        return recipe.protocol.value((64, 128))

    values = {"base_size": (129, 65), "resize_back": "bilinear_aligned"}
    assert under("mmseg-slide") == named("mmseg-slide", crop=(49, 49), stride=(33, 33), **values)
    assert under("mmseg-whole") == named("mmseg-whole", **values)
    assert under("mmseg-tta") == named("mmseg-tta", crop=(49, 49), stride=(33, 33), resize_back="bilinear_aligned")
    assert under("mmseg-tta", "{name: mmseg-slide, stride: [33, 33]}") == named("mmseg-tta")
    assert under("semseg-ss").resize_back == "bilinear"
    assert under("mmseg-tta", "{name: mmseg-whole, pad_to: 32}").pad_to == 32
    assert under("mmseg-slide", "{name: semseg-ss, base_size: 90}").base_size == (128, 64)


def test_one_checkpoint_under_several_protocols_in_one_table(run_folder, capsys):
    arguments = ("test", "--run", "run", "--trust", "support", "--limit", "1", "--device", "cpu")
    names = ("semseg-ss", "mmseg-whole", "mmseg-slide")
    several = [word for name in (*names, "semseg-ss") for word in ("--protocol", name)]
    assert catalyst_dl(*arguments, *several, "--output", "one") == 2
    assert "--output: one folder for 3 protocols; leave it out" in capsys.readouterr().err
    assert catalyst_dl(*arguments, *several) == 0
    table = capsys.readouterr().out.split("3 protocols, one checkpoint")[1]
    assert catalyst_dl("scores", "run", "--protocols") == 0
    again = capsys.readouterr().out
    for text in (table, again):
        for word in (*names, "each window", "probabilities of", "logits", "count as 0", "mIoU, occurring"):
            assert word in " ".join(text.split()), word
    assert len(score_files()) == 3


def test_mmsegmentations_protocol_from_the_command_line(run_folder, capsys):
    settings = "protocol={name: mmseg-whole, pad_to: 8}"
    arguments = ("test", "--run", "run", "--trust", "support")
    assert catalyst_dl(*arguments, "--protocol", "mmseg-tta", "--limit", "1") == 0
    (score,) = score_files().values()
    assert score["protocol"]["softmax"] == "view"
    assert score["protocol"]["mirrored"] == "image"
    assert Protocol.from_dict({k: v for k, v in score["protocol"].items() if k != "hash"}) == named("mmseg-tta")
    assert "mmseg-tta" in capsys.readouterr().out
    assert catalyst_dl(*arguments, "--protocol", "mmseg-whole", "--tester", "reference") == 2
    refused = "protocol mmseg-whole: the reference's tester does not do that (rounding half_up, resize opencv_uint8"
    assert refused in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot express protocol"):
        recipe_to_official(load_recipe(["toy/pspnet50"], [settings]))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("whole", {"crop": (3, 3)}, "'whole': crop (3, 3): follows from height and width"),
        ("whole", {"base_size": 9}, "'whole': base_size 9: follows from height and width"),
        ("semseg-ss", {"base_size": "imag"}, "base_size 'imag': expected a long side in pixels, a box"),
        ("mmseg-slid", {}, "'mmseg-slid'; did you mean 'mmseg-slide'?"),
        ("mmseg-slide", {"strid": (3, 3)}, "unknown key 'strid'; did you mean 'stride'?"),
    ],
)
def test_what_a_named_protocol_does_not_take(name, values, message):
    with pytest.raises(OptionError, match=re.escape(message)):
        named(name, **values)


@pytest.mark.parametrize("setting", ["protocol.name=mmseg-whole", "protocol.base_size=image", "protocol.softmax=never"])
def test_the_control_arm_has_the_references_protocols_only(setting):
    with pytest.raises(InputError, match=r"--control: the control arm cannot express protocol\."):
        recipe_to_official(load_recipe(["toy/pspnet50"], [setting]))
