"""Our scores against cityscapesScripts', and each trap on the way to the official number."""

import json
import sys

import numpy as np
import pytest

from catalyst_cityscapes.evaluation import official
from catalyst_cityscapes.evaluation.comparison import TOLERANCE, compare, count_image, to_json
from catalyst_cityscapes.evaluation.label_ids import label_table, to_label_ids
from catalyst_cityscapes.evaluation.official import MODULE, official_module, run_official
from catalyst_cityscapes.evaluation.predictions import find_ground_truth, frame_of, match_predictions
from catalyst_cityscapes.toy_city import build_toy_city
from semseg_ref.base.errors import DataError, InputError
from support.cities.scoring import SIZE, copy_city, image_name, labels_of, random_predictions, read, spoil_labels, write
from support.command_line import catalyst_dl, dl

PACKAGE = "cityscapesscripts"
IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    return build_toy_city(tmp_path_factory.mktemp("city") / "city", 1, 4, 2, *SIZE)


@pytest.fixture
def predicted(city, tmp_path):
    """Random predictions of the toy city in `tmp_path/p/gray`."""
    return random_predictions(city, tmp_path / "p" / "gray", seed=1).parent


def pairs_of(city, folder):
    return match_predictions(folder, find_ground_truth(city, "val"))


def error_of(capsys, *arguments) -> str:
    assert catalyst_dl(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


# -- agreement -----------------------------------------------------------------------------------------------------
def test_table_of_train_ids():
    table = label_table()
    assert table.ids.tolist() == IDS
    assert table.names[0] == "road"
    assert table.names[18] == "bicycle"
    exported = to_label_ids(np.array([[*range(19), 255]], np.uint8))
    assert exported.tolist() == [[*IDS, 0]]


@pytest.mark.parametrize(
    ("seed", "spoil", "absent", "unpredicted"),
    [
        (0, False, None, 0.0),
        (1, True, None, 0.0),
        (2, True, "train", 0.0),
        (3, True, "road", 0.2),
        (4, True, None, 1.0),
    ],
)
def test_agreement_with_cityscapesscripts(city, tmp_path, seed, spoil, absent, unpredicted):
    copied = copy_city(city, tmp_path / "city")
    if spoil:
        spoil_labels(copied, seed, absent)
    folder = random_predictions(copied, tmp_path / "gray", seed, absent, unpredicted)
    comparison = compare(pairs_of(copied, folder), tmp_path / "ids")
    table = label_table()
    assert comparison.largest_difference <= TOLERANCE
    matrix = comparison.counts.matrices.sum(axis=0)
    columns = [*IDS, 0]
    np.testing.assert_array_equal(matrix, comparison.scores.confusion[np.ix_(IDS, columns)])
    outside = [value for value in range(34) if value not in columns]
    assert comparison.scores.confusion[:, outside].sum() == 0
    assert comparison.counts.differing is None
    present = np.array([name for name, iou in zip(table.names, comparison.official, strict=True) if not np.isnan(iou)])
    if absent is not None:
        index = table.names.index(absent)
        assert np.isnan(comparison.official[index])
        assert comparison.own[index] == 0
        assert to_json(comparison)["classes"][index]["difference"] is None
    assert comparison.means["mIoU present"] == pytest.approx(comparison.scores.means["IoU class"], abs=1e-9)
    assert comparison.means["mIoU"] == pytest.approx(comparison.own.sum() / 19)
    assert len(present) >= 10
    if spoil:
        ignored = np.array([value for value in range(34) if value not in IDS])
        assert comparison.scores.confusion[ignored].sum() > 1000  # pixels of ignored areas were there and did not count


def test_pixels_without_prediction_are_missed_and_nobody_elses(tmp_path):
    labels = np.full((2, 4), 7, np.uint8)  # road
    labels[1] = 8, 8, 26, 0  # sidewalk, sidewalk, car, void
    prediction = np.array([[0, 0, 255, 1], [1, 255, 13, 255]], np.uint8)
    label_path = tmp_path / "city_000000_000019_gtFine_labelIds.png"
    write(label_path, labels)
    write(tmp_path / "gray" / "city_000000_000019_leftImg8bit.png", prediction)
    pairs = match_predictions(tmp_path / "gray", {"city_000000_000019": label_path})
    comparison = compare(pairs, tmp_path / "ids", instances=False)
    expected = np.full(19, np.nan)
    expected[0], expected[1], expected[13] = 2 / 4, 1 / 3, 1
    np.testing.assert_allclose(comparison.official, expected)
    assert comparison.largest_difference <= TOLERANCE
    assert comparison.means["allAcc"] == pytest.approx(4 / 7)
    assert to_json(comparison)["unpredicted_pixels"] == 2
    assert read(tmp_path / "ids" / "city_000000_000019_leftImg8bit.png").tolist() == [[7, 7, 0, 8], [8, 0, 26, 0]]
    # What the export is for: the script itself has no row or column 255.
    write(tmp_path / "raw.png", prediction)
    with pytest.raises(IndexError):
        run_official([(tmp_path / "raw.png", label_path)], instances=False)


def test_perfect_predictions_score_1_in_every_way(city, tmp_path):
    for path in labels_of(city):
        write(tmp_path / "gray" / image_name(path), label_table().train_id_of[read(path)])
    comparison = compare(pairs_of(city, tmp_path / "gray"), tmp_path / "ids")
    assert set(comparison.scores.means) == {"IoU class", "iIoU class", "IoU category", "iIoU category"}
    np.testing.assert_allclose(list(comparison.scores.means.values()), 1)
    assert set(comparison.scores.categories) == {
        "flat", "construction", "object", "nature", "sky", "human", "vehicle"
    }  # fmt: skip
    assert len(comparison.scores.class_instances) == 19
    assert np.isnan(comparison.scores.class_instances["road"])
    assert comparison.scores.class_instances["car"] == pytest.approx(1)


def test_instance_scores_weigh_small_objects_like_large_ones(tmp_path):
    """Two cars of 60 and 4 pixels, the small one missed: half of the weight is lost, but few of the pixels."""
    labels, instances = np.full((8, 10), 7, np.uint8), np.full((8, 10), 7, np.uint16)
    labels[:6], instances[:6] = 26, 26000
    labels[7, :4], instances[7, :4] = 26, 26001
    prediction = np.zeros((8, 10), np.uint8)
    prediction[:6] = 13
    stem = tmp_path / "city_000000_000019_gtFine_"
    write(stem.with_name(stem.name + "labelIds.png"), labels)
    write(stem.with_name(stem.name + "instanceIds.png"), instances)
    write(tmp_path / "gray" / "city_000000_000019_leftImg8bit.png", prediction)
    truth = {"city_000000_000019": stem.with_name(stem.name + "labelIds.png")}
    scores = compare(match_predictions(tmp_path / "gray", truth), tmp_path / "ids").scores
    assert scores.classes["car"] == pytest.approx(60 / 64)
    assert scores.class_instances["car"] == pytest.approx(0.5)


def test_count_image_ignores_what_the_label_ignores():
    label, prediction = np.array([[0, 255, 3]], np.uint8), np.array([[0, 7, 255]], np.uint8)
    matrix = count_image(prediction, label)
    assert matrix.shape == (19, 20)
    assert (matrix[0, 0], matrix[3, 19], matrix.sum()) == (1, 1, 2)


# -- the script's environment --------------------------------------------------------------------------------------
def test_environment_of_the_script_does_not_matter(city, predicted, tmp_path, monkeypatch):
    """It reads these at import; a folder that does not exist would raise there, results be looked for elsewhere."""
    for name in official.ENVIRONMENT:
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    before = sorted(path for path in city.rglob("*"))
    compare(pairs_of(city, predicted / "gray"), tmp_path / "ids")
    assert sorted(path for path in city.rglob("*")) == before  # no evaluationResults in the data set
    assert not (tmp_path / "nowhere").exists()


def test_settings_of_the_script_stay_its_own(city, predicted, tmp_path):
    before = dict(vars(official_module().args))
    compare(pairs_of(city, predicted / "gray"), tmp_path / "ids", instances=False)
    assert vars(official_module().args) == before


def test_numpy_without_in1d_is_named(city, predicted, monkeypatch, capsys):
    monkeypatch.delattr(np, "in1d")
    message = error_of(capsys, "evaluate", "--predictions", predicted, "--root", city)
    assert "has no in1d" in message
    assert "numpy<2.4" in message


def test_missing_cityscapesscripts_is_named(monkeypatch):
    label_table.cache_clear()
    monkeypatch.setitem(sys.modules, MODULE, None)
    monkeypatch.setitem(sys.modules, "cityscapesscripts.helpers.labels", None)
    for function in (official_module, label_table):
        with pytest.raises(InputError, match=r"cityscapesScripts cannot be imported.*cityscapesscripts==2\.3\.0"):
            function()


def test_what_the_script_refuses_is_one_line(city, predicted, tmp_path):
    """It ends the process with exit code -1."""
    prediction = next((predicted / "gray").glob("*.png"))
    write(tmp_path / "small.png", np.zeros((8, 8), np.uint8))
    pair = pairs_of(city, predicted / "gray")[0]
    with pytest.raises(DataError, match=r"cityscapesScripts: ERROR: Image widths .*small\.png"):
        run_official([(tmp_path / "small.png", pair[1])])
    assert prediction.exists()


# -- the command ---------------------------------------------------------------------------------------------------
def test_evaluate_prints_and_writes_both_scores(city, predicted):
    result = dl("evaluate", "--predictions", predicted, "--root", city)
    assert result.exit_code == 0, result.output
    content = json.loads((predicted / "official" / "official.json").read_text())
    assert content["images"] == content["frames"] == 4
    assert not content["partial"]
    assert content["largest_difference"] <= TOLERANCE
    assert content["protocol"] is None
    car = content["classes"][13]
    assert f"{car['own_iou']:.6f}" in result.output
    assert f"IoU class {content['means']['IoU class']:.4f}" in result.output
    assert "cityscapesScripts 4/4" in result.output
    assert "classes          IoU      nIoU" in (predicted / "official" / "official.txt").read_text()
    exported = sorted((predicted / "official" / "label_ids").glob("*.png"))
    assert [path.name for path in exported] == [image_name(path) for path in labels_of(city)]
    for path in exported:
        values = read(path)
        assert values.dtype == np.uint8
        assert set(np.unique(values)) <= set(IDS)
    with np.load(predicted / "official" / "official.npz") as arrays:
        assert arrays["matrices"].shape == (4, 19, 20)


def test_evaluate_again_after_a_prediction_was_renamed(city, predicted):
    """No stale file of an earlier export stays behind."""
    assert catalyst_dl("evaluate", "--predictions", predicted, "--root", city) == 0
    first = sorted((predicted / "gray").glob("*.png"))[0]
    first.rename(first.with_name(f"{frame_of(first)}_pred.png"))
    assert catalyst_dl("evaluate", "--predictions", predicted, "--root", city) == 0
    exported = {path.name for path in (predicted / "official" / "label_ids").glob("*.png")}
    assert exported == {path.name for path in (predicted / "gray").glob("*.png")}


def test_evaluate_part_of_the_frames(city, predicted, capsys):
    sorted((predicted / "gray").glob("*.png"))[0].unlink()
    message = error_of(capsys, "evaluate", "--predictions", predicted, "--root", city)
    assert "1 of 4 frames have no prediction (first: brennfurt_000000_000019)" in message
    assert catalyst_dl("evaluate", "--predictions", predicted, "--root", city, "--partial") == 0
    assert "only 3 of 4 frames" in capsys.readouterr().out
    assert json.loads((predicted / "official" / "official.json").read_text())["partial"]


def test_train_ids_drawn_otherwise_are_reported(city, predicted, tmp_path, capsys):
    copied = copy_city(city, tmp_path / "city")
    path = sorted(copied.glob("gtFine/val/*/*_labelTrainIds.png"))[1]
    values = read(path)
    values[:2] = 18
    write(path, values)
    assert catalyst_dl("evaluate", "--predictions", predicted, "--root", copied) == 0
    output = capsys.readouterr().out
    assert "1 labelTrainIds images differ from their labelIds in" in output
    assert path.name in output


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("*_labelIds.png", "no *_gtFine_labelIds.png (it holds 4 *_labelTrainIds.png"),
        ("*_instanceIds.png", "_gtFine_instanceIds.png: no such file; the instance scores (iIoU) need it"),
    ],
)
def test_missing_ground_truth(city, predicted, tmp_path, capsys, pattern, message):
    copied = copy_city(city, tmp_path / "city")
    for path in copied.rglob(pattern):
        path.unlink()
    assert message in error_of(capsys, "evaluate", "--predictions", predicted, "--root", copied)
    assert not (predicted / "official").exists()  # nothing was exported before the check
    if "instance" in pattern:
        assert catalyst_dl("evaluate", "--predictions", predicted, "--root", copied, "--no-instances") == 0


def test_folder_name_that_hides_the_instances(city, predicted, tmp_path, capsys):
    copied = copy_city(city, tmp_path / "labelIds_city")
    message = error_of(capsys, "evaluate", "--predictions", predicted, "--root", copied)
    assert "hides" in message
    assert "--no-instances" in message


def first_of(predicted):
    return sorted((predicted / "gray").glob("*.png"))[0]


def plant_size(predicted):
    write(first_of(predicted), np.zeros((32, 64), np.uint8))


def plant_label_ids(predicted):
    write(first_of(predicted), to_label_ids(read(first_of(predicted))))


def plant_stranger(predicted):
    write(predicted / "gray" / "frankfurt_000000_000294_leftImg8bit.png", np.zeros(SIZE, np.uint8))


def plant_twin(predicted):
    write(predicted / "gray" / f"{frame_of(first_of(predicted))}_gtFine_predTrainIds.png", np.zeros(SIZE, np.uint8))


def plant_colours(predicted):
    write(first_of(predicted), np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8))


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (plant_size, "_leftImg8bit.png: size 32 x 64, expected that of"),
        (plant_label_ids, "expected train ids 0..18 or 255 (no prediction); these are label ids already"),
        (plant_stranger, "frankfurt_000000_000294_leftImg8bit.png: no frame of the ground truth has this name"),
        (plant_twin, "two predictions of one frame"),
        (plant_colours, "a colour image"),
    ],
)
def test_predictions_that_cannot_be_scored(city, predicted, capsys, plant, message):
    plant(predicted)
    assert message in error_of(capsys, "evaluate", "--predictions", predicted, "--root", city)


def test_folders_that_are_not_there(city, predicted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert "no run with a checkpoint below it" in error_of(capsys, "evaluate")
    assert "nowhere: no such run (no such folder)" in error_of(capsys, "evaluate", "--run", "nowhere")
    (tmp_path / "exp" / "a").mkdir(parents=True)
    (tmp_path / "exp" / "a" / "recipe.yml").write_text(f"data: {{root: {city}, train_list: t, val_list: v}}\n")
    message = error_of(capsys, "evaluate", "--run", "exp/b")
    assert "exp/b: no such run" in message
    assert message.endswith("exp: a")
    assert "no predictions of split val in this run" in error_of(capsys, "evaluate", "--run", "exp/a")
    assert "no predictions (no such folder)" in error_of(capsys, "evaluate", "--predictions", "gone")
    assert "no PNG files" in error_of(capsys, "evaluate", "--predictions", tmp_path)
    assert "--root FOLDER is missing" in error_of(capsys, "evaluate", "--predictions", predicted)
    assert "must be the Cityscapes folder" in error_of(
        capsys, "evaluate", "--predictions", predicted, "--root", tmp_path
    )
    assert "give one of them" in error_of(capsys, "evaluate", "--predictions", predicted, "--run", "exp/a")
