"""The Python API: the command line's checks, files and bits, and a process that is afterwards as it was."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import distributed

from catalyst_cityscapes import api
from semseg_ref.base.errors import DataError, DivergedError, InputError, OptionError
from semseg_ref.dataset import make_dataset, read_image
from support.command_line import dl
from support.places import PROJECT
from support.runs.toy import (
    CONFIG,
    SMALL,
    SMALL_PACKAGE,
    STATE,
    assert_same_checkpoints,
    remove_checkpoints,
    toy_settings,
)

pytestmark = pytest.mark.usefixtures("one_thread_module")
PROTOCOL = ("protocol.crop=[65, 97]", "protocol.base_size=96")
NAMES = {"load_recipe", "train", "test", "predict", "compare", "Run", "Score", "Predictor", "Comparison"}
OF_ONE_CALL = ("seconds", "time_utc")
"""Entries of a score that differ between two calls."""


def settings_of(city: Path, *settings: str) -> list[str]:
    return toy_settings(city, *SMALL, *PROTOCOL, *settings)


def recipe_of(city: Path, *settings: str) -> object:
    return api.load_recipe(CONFIG, settings=settings_of(city, *settings), trusted=[SMALL_PACKAGE])


def command(name: str, *words: str) -> str:
    """Output of a subcommand that must succeed."""
    result = dl(name, "--trust", SMALL_PACKAGE, *words)
    assert result.exit_code == 0, result.output
    return result.output


def refusal(name: str, *words: str) -> str:
    """The message of a subcommand that must refuse."""
    result = dl(name, *words)
    assert result.exit_code == 2
    return result.stderr.removeprefix("catalyst-dl: error: ").rstrip("\n")


def process_state() -> tuple:
    """What a training sets for the whole process and has to give back."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    switches = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark
    signals = tuple(signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT))
    forced = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    return distributed.is_initialized(), switches, signals, torch.are_deterministic_algorithms_enabled(), forced


@pytest.fixture(scope="module")
def runs(toy_city, tmp_path_factory):
    """Folder with the run `cli` of the command line and `api` of the API, both scored."""
    folder = tmp_path_factory.mktemp("api")
    before = Path.cwd()
    os.chdir(folder)
    try:
        command("run", "--config", CONFIG, "--set", *settings_of(toy_city, "experiment.logdir=cli"))
        command("test", "--run", "cli", "--device", "cpu")
        state = process_state()
        run = api.train(recipe_of(toy_city, "experiment.logdir=api"))
        score = api.test(run, device="cpu")
        assert process_state() == state
    finally:
        os.chdir(before)
    yield folder, run, score
    remove_checkpoints(folder)


@pytest.fixture
def in_runs(runs, monkeypatch):
    """Working directory of `runs`; gives the API's run and score."""
    monkeypatch.chdir(runs[0])
    return runs[1], runs[2]


# -- training and scoring --------------------------------------------------------------------------------------------
def test_a_training_has_the_command_lines_bits(in_runs):
    run, _ = in_runs
    assert (run.folder, run.checkpoint) == (Path("api"), Path("api/model/last.pth"))
    assert Path("api/iterations.csv").read_bytes() == Path("cli/iterations.csv").read_bytes()
    names = [sorted(path.name for path in (Path(arm) / "model").iterdir()) for arm in ("api", "cli")]
    assert names[0] == names[1]
    for name in names[0]:
        keys = [key for key in STATE if key != "recipe"]  # it has the folder's name
        assert_same_checkpoints(Path("api/model") / name, Path("cli/model") / name, keys)
    assert api.Run.open("api", trusted=[SMALL_PACKAGE]) == run


def test_a_score_is_the_command_lines(in_runs):
    _, score = in_runs
    (theirs,) = Path("cli/result").rglob("score.json")
    assert score.file == Path("api") / theirs.relative_to("cli")
    expected, found = json.loads(theirs.read_text()), json.loads(score.file.read_text())
    assert found == score.content
    assert found.pop("checkpoint")["path"] == "api/model/last.pth"
    assert expected.pop("checkpoint")["path"] == "cli/model/last.pth"
    for entry in OF_ONE_CALL:
        del expected[entry], found[entry]
    assert found == expected
    assert (score.mIoU, score.mAcc, score.allAcc) == tuple(expected[key] for key in ("mIoU", "mAcc", "allAcc"))
    assert score.classes["road"]["iou"] == expected["classes"][0]["iou"]
    assert len(score.classes) == 19
    for gray in (theirs.parent / "gray").iterdir():
        assert gray.read_bytes() == (score.folder / "gray" / gray.name).read_bytes()
    assert api.Score.open(score.file) == score


def test_another_protocol_is_the_command_lines(in_runs):
    run, _ = in_runs
    said = []
    score = api.test(run, protocol="whole", device="cpu", limit=1, tester="fast", output="whole_api", say=said.append)
    command(
        "test", "--run", "api", "--protocol", "whole", "--device", "cpu", "--limit", "1", "--tester", "fast",
        "--output", "whole_cli",
    )  # fmt: skip
    theirs = api.Score.open("whole_cli/score.json")
    assert score.content["protocol"] == theirs.content["protocol"]
    assert score.content["protocol"]["name"] == "whole"
    assert score.content["classes"] == theirs.content["classes"]
    assert score.content["limit"] == 1
    assert any(line.startswith("predicted 1/1 ") for line in said)


def test_a_run_goes_on_and_is_replaced_only_when_asked(toy_city, workdir):
    state = process_state()
    recipe = recipe_of(toy_city)
    run = api.train(recipe)
    shutil.copy(run.checkpoint, "straight.pth")
    with pytest.raises(InputError, match=r"already holds a run; go on with --resume auto"):
        api.train(recipe)
    api.train(recipe, resume="run/model/train_epoch_1.pth")
    assert_same_checkpoints(run.checkpoint, Path("straight.pth"), STATE)
    api.train(recipe_of(toy_city, "experiment.epochs=3"), resume="auto", allow_changed=["experiment.epochs"])
    assert Path("run/model/train_epoch_3.pth").is_file()
    api.train(recipe_of(toy_city, "experiment.epochs=1"), overwrite=True)
    assert sorted(path.name for path in Path("run/model").glob("*.pth")) == ["last.pth", "train_epoch_1.pth"]
    assert process_state() == state


@pytest.mark.slow
def test_the_reference_arm(toy_city, workdir):
    settings = toy_settings(toy_city, "experiment.epochs=1", "experiment.logdir=reference")
    recipe = api.load_recipe(CONFIG, settings=settings)
    state = process_state()
    run = api.train(recipe, reference=True)
    assert process_state() == state
    assert run.checkpoint == Path("reference/model/train_epoch_1.pth")
    assert api.Run.open("reference").checkpoint == run.checkpoint


def test_a_stopped_training_leaves_the_process_as_it_was(toy_city, workdir):
    state = process_state()
    with pytest.raises(DivergedError):
        api.train(recipe_of(toy_city, "optimizer.lr=1e30", "callbacks.poly_lr.base_lr=1e30"))
    assert process_state() == state
    with pytest.raises(InputError, match="no such list file"):
        api.train(recipe_of(toy_city, "data.train_list=gone.txt", "experiment.logdir=other"))
    assert process_state() == state
    assert not Path("other").exists()


def test_a_process_group_that_was_there_stays(toy_city, workdir):
    distributed.init_process_group("gloo", init_method=f"file://{workdir}/store", rank=0, world_size=1)
    try:
        api.train(recipe_of(toy_city, "experiment.epochs=1"))
        assert distributed.is_initialized()
    finally:
        distributed.destroy_process_group()


def test_each_run_is_scored_with_the_code_that_trained_it(toy_city, workdir):
    """Two trainings with a module of one name, edited in between, as in a notebook."""
    code = "from support.networks.small import SmallLogits\n\n\nclass Net(SmallLogits):\n    word = '{}'\n"
    Path("edited_net.py").write_text(code.format("first"))
    settings = settings_of(toy_city, "experiment.epochs=1", "model._target_=edited_net.Net")

    def trained(folder: str) -> api.Run:
        names = ["edited_net", SMALL_PACKAGE]
        return api.train(api.load_recipe(CONFIG, settings=[*settings, f"experiment.logdir={folder}"], trusted=names))

    def word(run: api.Run) -> str:
        return api.Predictor(run, device="cpu").demonstrator.network.word

    first = trained("first")
    Path("edited_net.py").write_text(code.format("second"))
    second = trained("second")
    assert [word(run) for run in (first, second, first)] == ["first", "second", "first"]
    api.test(second, device="cpu", say=len)
    assert word(api.Run.open("first", trusted=["edited_net", SMALL_PACKAGE])) == "first"
    shutil.rmtree("first")
    assert word(second) == "second"


# -- predicting ------------------------------------------------------------------------------------------------------
def test_a_prediction_is_the_tests(in_runs):
    run, score = in_runs
    data = run.recipe.data
    paths = [path for path, _ in make_dataset("val", data.root, data.val_list)]
    gray = [cv2.imread(str(score.folder / "gray" / Path(path).name), cv2.IMREAD_GRAYSCALE) for path in paths]
    found = api.predict(run, paths, device="cpu")
    assert [(each.dtype, each.shape) for each in found] == [(np.uint8, (64, 96))] * 3
    assert all(np.array_equal(*pair) for pair in zip(found, gray, strict=True))
    pixels = read_image(paths[0]).astype(np.uint8)
    assert np.array_equal(api.predict(run, pixels, device="cpu"), gray[0])
    shares = api.predict(run, Path(paths[0]), probabilities=True, device="cpu")
    assert (shares.dtype, shares.shape) == (np.float64, (64, 96, 19))
    assert np.array_equal(shares.argmax(axis=2), gray[0])


def test_pictures_share_one_network(in_runs, monkeypatch):
    from catalyst_cityscapes.evaluation import score_run

    run, _ = in_runs
    loads, build = [], score_run.build_for_test

    def counted(*arguments):
        loads.append(arguments)
        return build(*arguments)

    monkeypatch.setattr(score_run, "build_for_test", counted)
    predictor = api.Predictor(run, device="cpu", window=True)
    pixels = np.zeros((33, 41, 3), np.uint8)
    assert predictor(pixels).shape == predictor(pixels).shape == (33, 41)
    assert (predictor.epoch, predictor.names[0], len(loads)) == (2, "road", 1)
    api.predict(run, (pixels, pixels), device="cpu")
    assert len(loads) == 2


# -- comparing -------------------------------------------------------------------------------------------------------
def test_a_comparison_is_the_command_lines(in_runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    run, score = in_runs
    (theirs,) = Path("cli/result").rglob("score.json")
    comparison = api.compare([score, theirs, score.file])
    assert [row["mIoU"] for row in comparison.rows] == [score.mIoU, api.Score.open(theirs).mIoU]
    assert comparison.reasons == ()
    result = dl("scores", score.file, theirs)
    assert result.output.split() == str(comparison).split()
    assert "2 scores of one protocol" in comparison._repr_html_()
    assert api.compare([run.folder / score.folder.relative_to(run.folder)]).scores == (score,)


def test_what_cannot_be_compared_is_refused(in_runs, tmp_path):
    _, score = in_runs
    other = tmp_path / "score.json"
    protocol = {**score.content["protocol"], "hash": "0" * 12}
    other.write_text(json.dumps({**score.content, "protocol": protocol, "experiment": "<b>\x1b[31mbold</b>"}))
    with pytest.raises(InputError, match=r"^not comparable: 2 different protocols: "):
        api.compare([score, other])
    comparison = api.compare([score, other], strict=False)
    assert comparison.reasons[0].startswith("2 different protocols: ")
    assert "NOT COMPARABLE" in str(comparison)
    for shown in (comparison._repr_html_(), api.Score.open(other)._repr_html_()):
        assert "&lt;b&gt;?[31mbold&lt;/b&gt;" in shown
        assert "<b>" not in shown
    assert "NOT COMPARABLE" in comparison._repr_html_()


def test_a_score_shows_itself(in_runs):
    _, score = in_runs
    assert f"{score.mIoU:.4f}/{score.mAcc:.4f}/{score.allAcc:.4f}" in str(score)
    html = score._repr_html_()
    assert html.startswith("<table>")
    assert html.count("<tr>") == 1 + 19 + 1
    assert f"{score.mIoU:.4f}" in html
    assert "scored" not in repr(score)


# -- mistakes --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("toy/pspnet5", ()),
        (CONFIG, ("callbacks.poly_lr.pwoer=1",)),
        (CONFIG, ("enigne.device=cpu",)),
        (CONFIG, ("data.classes=many",)),
        (CONFIG, ("model._target_=os.system",)),
        (str(PROJECT / "tool/official/cityscapes/cityscapes_pspnet50.yaml"), ("zoom=1",)),
    ],
)
def test_a_refused_recipe_has_the_command_lines_text(config, settings, workdir):
    with pytest.raises(InputError) as caught:
        api.load_recipe(config, settings=settings)
    words = ["--set", *settings] if settings else []
    assert str(caught.value) == refusal("run", "--config", config, *words)


def test_an_official_config_is_translated():
    recipe = api.load_recipe(PROJECT / "tool/official/cityscapes/cityscapes_pspnet50.yaml", settings=["epochs=3"])
    assert recipe.experiment.epochs == 3


def test_refusals_of_a_training_have_the_command_lines_text(toy_city, in_runs):
    recipe = recipe_of(toy_city, "experiment.logdir=cli")
    words = ["--config", CONFIG, "--trust", SMALL_PACKAGE, "--set"]
    words += settings_of(toy_city, "experiment.logdir=cli")
    for arguments, options in (
        ({}, []),
        ({"resume": "gone.pth"}, ["--resume", "gone.pth"]),
        ({"allow_changed": ["optimizer.lr"]}, ["--allow-changed", "optimizer.lr"]),
        ({"reference": True, "overwrite": True}, ["--control", "--overwrite"]),
    ):
        with pytest.raises(InputError) as caught:
            api.train(recipe, **arguments)
        assert str(caught.value) == refusal("run", *words, *options)


def test_plain_catalyst_configs_are_no_recipes(tmp_path):
    file = tmp_path / "plain.yml"
    file.write_text("runner: {}\nrun: []\n")
    with pytest.raises(InputError, match=f"{file}: a plain Catalyst config and no recipe; catalyst-dl run"):
        api.load_recipe(file)


def test_arguments_are_checked(in_runs, tmp_path):
    run, _ = in_runs
    for call, kind, message in (
        (lambda: api.load_recipe(CONFIG, settings="a.b=1"), OptionError, r"settings: 'a.b=1' is one value; expected a"),
        (lambda: api.load_recipe(CONFIG, overlays="swap/head_lr"), OptionError, "overlays: 'swap/head_lr' is one"),
        (lambda: api.Run.open("ap"), InputError, "ap: no such run .*runs in .*: api, cli"),
        (lambda: api.Run(tmp_path, run.recipe).checkpoint, InputError, "last.pth: no such checkpoint in this run"),
        (lambda: api.test(run, protocol="semseg_ss"), OptionError, "protocol: 'semseg_ss'; did you mean 'semseg-ss'?"),
        (lambda: api.test(run, device="gpu"), OptionError, "device: 'gpu'; did you mean 'cpu'"),
        (lambda: api.test(run, limit=0), OptionError, "limit: 0; expected a whole number >= 1"),
        (lambda: api.test(run, tester="exat"), OptionError, "tester 'exat'; did you mean 'exact'?"),
        (lambda: api.predict(run, "gone.png", device="cpu"), DataError, "gone.png"),
        (lambda: api.predict(run, np.zeros((4, 4), np.uint8), device="cpu"), DataError, r"image: uint8 \[4, 4\]; exp"),
        (lambda: api.predict(run, np.zeros((4, 4, 3)), device="cpu"), DataError, r"image: float64 \[4, 4, 3\]; exp"),
        (lambda: api.predict(run, None, device="cpu"), DataError, "image: NoneType; expected uint8"),
        (lambda: api.compare([]), InputError, "compare: no scores; expected"),
        (lambda: api.compare([tmp_path]), InputError, "no score.json here; catalyst-dl test writes one"),
    ):
        with pytest.raises(kind, match=message):
            call()


# -- the package -----------------------------------------------------------------------------------------------------
def test_its_names_load_no_torch_and_are_functions_whatever_is_imported():
    assert set(api.__all__) >= NAMES
    code = "import sys\nfrom catalyst_cityscapes.api import load_recipe, train, test, predict, compare, Run, Score\n"
    code += "print('torch' in sys.modules or 'click' in sys.modules, callable(train))\n"
    code += "import catalyst_cityscapes.train.runner\nfrom catalyst_cityscapes.api import train\nprint(callable(train))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]
