"""A component says itself what it is: one that changes no number changes nothing in resume, --control, diff, ladder."""

import json
from pathlib import Path

import pytest
from catalyst.callbacks import TimerCallback

from catalyst_cityscapes import callbacks
from catalyst_cityscapes.callbacks import Checkpoint, GradientStep, MeanIoU, OneCycle, PolyLR, TrainingMonitor
from catalyst_cityscapes.lab.ladder.components import differences_of
from catalyst_cityscapes.lab.ladder.normal_form import fingerprint, normal_form
from catalyst_cityscapes.recipe.changes import check_changes
from catalyst_cityscapes.recipe.key_roles import section_role
from catalyst_cityscapes.recipe.loading import load_recipe
from catalyst_cityscapes.recipe.role import EFFECTS, PARTS, Role, role_of
from catalyst_cityscapes.recipe.schema import Recipe
from catalyst_cityscapes.recipe.translation import recipe_to_official
from semseg_ref.base.errors import CheckpointError, InputError, OptionError
from support.command_line import catalyst_dl, dl
from support.runs.crashes import CrashError, assert_one_line, crash_at_call, snapshot, train
from support.runs.toy import TRAINING_STATE, assert_same_checkpoints, toy_settings

pytestmark = pytest.mark.usefixtures("one_thread")
BASE = "toy/pspnet50"
HINT = 'says ROLE = Role("tracker", affects="nothing"), from catalyst_cityscapes.recipe.role (no role is inherited)'
COMPONENTS = """
from pathlib import Path
from catalyst.core.callback import Callback, CallbackOrder
from catalyst_cityscapes.recipe.role import Role

class Tracker(Callback):
    ROLE = Role("tracker", affects="nothing")
    def __init__(self, file="tracked.txt", every=1):
        super().__init__(order=CallbackOrder.Scheduler)  # in a schedule's place, which it still is not
        self.file, self.every = Path(file), every
    def on_batch_end(self, runner):
        if runner.iteration % self.every == 0:
            with self.file.open("a") as file:
                file.write(f"{runner.loader_key} {float(runner.batch_metrics['loss'])}\\n")

class Log(Callback):
    @classmethod
    def role(cls, arguments):
        return Role("log", affects="loss" if arguments.get("scaled") else "nothing")
    def __init__(self, text="", scaled=False):
        super().__init__(order=CallbackOrder.External)

class WarmUp(Callback):
    ROLE = Role("schedule", affects="rates")
    def __init__(self, steps=10):
        super().__init__(order=CallbackOrder.External)

class Silent(Callback):
    def __init__(self, text=""):
        super().__init__(order=CallbackOrder.External)

class SilentTracker(Tracker):
    pass

class Wrong(Callback):
    ROLE = "tracker"
    def __init__(self):
        super().__init__(order=CallbackOrder.External)

def made():
    return Tracker()
"""


@pytest.fixture
def mine(workdir):
    """A file of a user's own in the working directory; returns the name of its module, another one for each test."""
    name = f"role_{workdir.name.replace('-', '_')}"
    Path(f"{name}.py").write_text(COMPONENTS)
    return name


def setting(module: str, target: str, key: str = "mine", arguments: str = "") -> str:
    return f"callbacks.{key}={{_target_: {module}.{target}{arguments}}}"


def loaded(module: str, *settings: str) -> Recipe:
    return load_recipe([BASE], settings, (module,))


def changes(before: Recipe, now: Recipe, *allowed: str) -> list[str]:
    return check_changes(before.plain(), now.plain(), "x.pth", allowed)


# -- what a role is ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"affects": "nothin"}, "Role('x'): affects: unknown word 'nothin'; did you mean 'nothing'?"),
        ({"affects": ("rates", "momentun")}, "affects: unknown word 'momentun'; did you mean 'momentum'?"),
        ({"affects": ""}, "affects: '': expected 'nothing', or what it affects"),
        ({"affects": ("nothing", "rates")}, "affects: ('nothing', 'rates'): expected 'nothing', or what it affects"),
        ({"affects": "rates", "takes": ("rate",)}, "takes: unknown word 'rate'; did you mean 'rates'?"),
    ],
)
def test_a_wrong_word_is_refused_with_the_nearest(arguments, said):
    with pytest.raises(OptionError) as error:
        Role("x", **arguments)
    assert said in str(error.value)


def test_what_is_left_out_follows_from_what_it_affects():
    tracker, schedule = Role("tracker", affects="nothing"), Role("schedule", affects="rates")
    assert (tracker.resume, tracker.control, tracker.counted, tracker.topics) == (True, True, False, "")
    assert (schedule.resume, schedule.control, schedule.counted) == (False, False, True)
    assert (schedule.component, schedule.topics) == ("schedule", "optimiser")
    assert Role("x", affects="rates momentum") == Role("x", affects=("rates", "momentum"))


def test_what_depends_on_the_arguments():
    assert role_of(OneCycle, {"rates": None}).affects == ("momentum",)
    assert role_of(OneCycle, {"momentum": None}).takes == ("rates",)
    assert role_of(Checkpoint, {"select": "best"}).watches
    assert not role_of(Checkpoint).watches
    assert role_of(Checkpoint).arguments["keep"].changes_nothing


def test_a_class_says_it_itself_and_a_function_nothing():
    class Other(TrainingMonitor):
        """May do something else."""

    assert role_of(TrainingMonitor).changes_nothing
    assert role_of(Other) is None
    assert role_of(lambda: TrainingMonitor()) is None
    assert role_of(TimerCallback).changes_nothing


def test_every_callback_of_this_project_says_its_role():
    for name in callbacks.__all__:
        assert isinstance(role_of(getattr(callbacks, name)), Role), name
    assert {role_of(kind).takes for kind in (PolyLR, GradientStep, MeanIoU)} == {None}  # their interfaces say it


def leaves(section: type, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, info in section.model_fields.items():
        below = info.annotation if hasattr(info.annotation, "model_fields") else None
        found += [(*path, name)] if below is None else leaves(below, (*path, name))
    return found


def test_every_key_of_the_recipe_says_its_role():
    assert [path for path in leaves(Recipe) if section_role(path) is None] == [("callbacks",)]


SILENT = {
    "experiment.name", "experiment.logdir", "data.test_list", "data.names", "data.colors", "data.cache",
    "sampling.workers", "sampling.persistent_workers", "sampling.across_epochs", "engine.timeout_minutes",
    "engine.activation_checkpointing", "engine.transfer", "expected",
}  # fmt: skip
TOLD = {
    "experiment.epochs", "experiment.iterations", "data.root", "data.val_list", "engine.device", "engine.deterministic",
    "engine.cudnn_benchmark",
}  # fmt: skip
CONTROL = {
    "experiment.name", "experiment.logdir", "data.test_list", "data.cache", "sampling.persistent_workers",
    "sampling.across_epochs", "engine.device", "engine.timeout_minutes", "engine.transfer", "engine.deterministic",
    "protocol.name", "expected",
}  # fmt: skip


def test_which_keys_may_change():
    """Of sections other than `protocol` and `validation`, whose keys all may, and are told of validation."""
    roles = {".".join(path): section_role(path) for path in leaves(Recipe) if path != ("callbacks",)}
    whole = {name for name in roles if name.startswith(("protocol.", "validation."))}
    assert {name for name, role in roles.items() if role.resume is True} - whole == SILENT
    assert {name for name, role in roles.items() if isinstance(role.resume, str)} - whole == TOLD
    assert {isinstance(roles[name].resume, str) for name in whole if name.startswith("validation.")} == {True}
    assert {roles[name].resume for name in whole if name.startswith("protocol.")} == {True}
    assert {name for name, role in roles.items() if role.control} == CONTROL
    assert {name for name, role in roles.items() if not role.counted} == CONTROL | {"experiment.seed"}


def test_the_words_for_it_are_taken():
    """By a callback or a key: a word that nothing uses is no word."""
    roles = [section_role(path) for path in leaves(Recipe) if path != ("callbacks",)]
    roles += [role_of(getattr(callbacks, name)) for name in callbacks.__all__]
    assert {word for role in roles for word in role.affects} == set(EFFECTS)
    assert {part for role in roles for part in role.takes or ()} <= set(PARTS)


# -- a tracker changes nothing -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("before", "now"),
    [
        ((), ("Tracker",)),
        (("Tracker",), ()),
        (("Tracker",), ("Tracker", ", every: 2")),
        (("Log", ", text: a"), ("Log", ", text: b")),
        (("Log",), ("Tracker",)),
    ],
    ids=["added", "removed", "changed", "logger changed", "replaced"],
)
def test_a_tracker_changes_nothing(mine, before, now):
    first, second = (
        loaded(mine, *([setting(mine, side[0], arguments="".join(side[1:]))] if side else [])) for side in (before, now)
    )
    assert changes(first, second) == []
    assert recipe_to_official(second) == recipe_to_official(load_recipe([BASE]))
    assert differences_of(first, second, (mine,)).components == ()
    assert normal_form(first, (mine,)) == normal_form(second, (mine,))
    assert fingerprint(second, (mine,)) == fingerprint(load_recipe([BASE]))


def test_the_arms_of_a_ladder_keep_the_tracker_of_the_first(mine):
    first = loaded(mine, setting(mine, "Tracker"))
    made = differences_of(first, loaded(mine, "optimizer.momentum=0.5"), (mine,)).recipe(["momentum"])
    assert made.callbacks["mine"]["_target_"] == f"{mine}.Tracker"
    assert made.optimizer["momentum"] == 0.5


@pytest.mark.slow
@pytest.mark.parametrize("change", ["added", "removed", "changed"])
def test_a_resumed_run_may_have_another_tracker_silently(toy_city, mine, monkeypatch, capsys, change):
    tracker, other = (setting(mine, "Tracker", arguments=f", every: {every}") for every in (1, 2))
    before, now = {"added": ((), (tracker,)), "removed": ((tracker,), ()), "changed": ((tracker,), (other,))}[change]
    trusted = ("--trust", mine)
    assert train(toy_city, *trusted, settings=("experiment.logdir=whole",)) == 0
    with monkeypatch.context() as patch:
        crash_at_call(patch, GradientStep, "on_batch_end", 2 * 8 + 2)
        with pytest.raises(CrashError):
            train(toy_city, *trusted, settings=before)
    Path(f"{mine}.py").write_text(f"{COMPONENTS}\n# another version\n")
    capsys.readouterr()
    assert train(toy_city, *trusted, "--resume", "auto", settings=now) == 0
    assert capsys.readouterr().err == ""
    assert Path("tracked.txt").read_text().startswith("train ")
    assert_same_checkpoints(Path("whole/model/last.pth"), Path("run/model/last.pth"), TRAINING_STATE)
    for log in ("iterations.csv", "metrics.csv"):
        assert Path("whole", log).read_bytes() == Path("run", log).read_bytes()


@pytest.mark.slow
def test_the_control_arm_runs_without_the_tracker(toy_city, mine, capsys):
    given = toy_settings(toy_city, "experiment.epochs=1", setting(mine, "Tracker"))
    assert catalyst_dl("run", "--config", BASE, "--control", "--trust", mine, "--set", *given) == 0
    assert Path("run/model/train_epoch_1.pth").is_file()
    assert not Path("tracked.txt").exists()
    assert "--control: callbacks.mine: not run, the control arm has no callbacks" in capsys.readouterr().err


def test_diff_shows_the_key_and_no_effect(mine):
    small = ("model._target_=support.networks.small.SmallLogits", "model.classes=19", "data.root=nowhere")
    words = ("--trust", "support", "--trust", mine, "--draws", "3", "--json", "-")
    result = dl("diff", BASE, f"+{setting(mine, 'Tracker')}", *words, "--set", *small)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["summary"].startswith("0 of ")
    assert [key["key"] for key in found["keys"]] == found["keys_without_effect"] == ["callbacks.mine"]
    assert found["keys_not_told_apart"] == found["effects_without_key"] == []


def test_lint_finds_nothing_about_the_tracker(mine):
    words = ("lint", BASE, "--json", "data.root=nowhere")
    plain, tracked = dl(*words), dl(*words, "--trust", mine, setting(mine, "Tracker"))
    assert json.loads(tracked.stdout)["findings"] == json.loads(plain.stdout)["findings"]


# -- everything else is another training ---------------------------------------------------------------------------
def test_a_schedule_of_ones_own_is_refused_and_a_component(mine):
    first, second = loaded(mine), loaded(mine, setting(mine, "WarmUp"))
    with pytest.raises(CheckpointError, match=r"another recipe: callbacks\.mine .*--allow-changed callbacks\.mine$"):
        changes(first, second)
    assert changes(first, second, "callbacks.mine")[0].endswith(": allowed; this is another training")
    with pytest.raises(InputError, match=r"cannot express callbacks\.mine; it trains the official recipe only$"):
        recipe_to_official(second)
    (component,) = differences_of(first, second, (mine,)).components
    assert (component.name, component.keys[0]) == ("schedule", "callbacks.mine._target_")
    assert fingerprint(first) != fingerprint(second, (mine,))


def test_a_role_follows_the_arguments(mine):
    plain, scaled = (loaded(mine, setting(mine, "Log", arguments=f", scaled: {on}")) for on in ("false", "true"))
    with pytest.raises(CheckpointError, match=r"callbacks\.mine\.scaled \(False, now True\)"):
        changes(plain, scaled)
    assert [found.name for found in differences_of(plain, scaled, (mine,)).components] == ["log"]


@pytest.mark.parametrize("target", ["Silent", "SilentTracker", "made"])
def test_what_says_nothing_is_taken_for_what_changes_everything(mine, target):
    first, second = loaded(mine), loaded(mine, setting(mine, target))
    says = f"; {mine}.{target} does not say what it affects: a class that changes no number {HINT}"
    with pytest.raises(CheckpointError) as refused:
        changes(first, second)
    assert str(refused.value).endswith(f"--allow-changed callbacks.mine{says}")
    with pytest.raises(InputError) as refused:
        recipe_to_official(second)
    assert str(refused.value).endswith(f"cannot express callbacks.mine; it trains the official recipe only{says}")
    assert [found.name for found in differences_of(first, second, (mine,)).components] == ["mine"]


def test_the_key_that_a_callback_stands_at_says_nothing(mine):
    swapped = setting(mine, "Silent", "progress")
    with pytest.raises(CheckpointError, match=r"callbacks\.progress"):
        changes(loaded(mine), loaded(mine, swapped))
    with pytest.raises(InputError, match=r"cannot express callbacks\.progress"):
        recipe_to_official(loaded(mine, swapped))


def test_a_checkpoint_imports_nothing_that_is_not_trusted(mine):
    now = load_recipe([BASE])
    before = now.plain()
    before["callbacks"]["mine"] = {"_target_": f"{mine}_never.Tracker"}
    with pytest.raises(CheckpointError) as refused:
        check_changes(before, now.plain(), "x.pth")
    assert f"; {mine}_never.Tracker cannot be asked what it affects: --trust {mine}_never allows it" in str(
        refused.value
    )
    for odd in ({"_target_": 3}, {}, 5, [1]):
        before["callbacks"]["mine"] = odd
        with pytest.raises(CheckpointError, match=r"callbacks\.mine"):
            check_changes(before, now.plain(), "x.pth")


def test_a_callback_that_is_off_on_both_sides_is_no_difference(mine):
    off = loaded(mine, "callbacks.mine=null")
    assert changes(loaded(mine), off) == []
    assert recipe_to_official(off) == recipe_to_official(load_recipe([BASE]))


def test_a_role_that_is_none_is_refused_at_its_key(mine, toy_city):
    given = toy_settings(toy_city, setting(mine, "Wrong"))
    result = dl("run", "--config", BASE, "--trust", mine, "--set", *given)
    assert result.exit_code == 2
    assert_one_line(result.stderr, "--set: callbacks.mine: Wrong: expected ROLE to be a Role", "got 'tracker'")
    Path(f"{mine}_b.py").write_text(COMPONENTS.replace('"nothing"', '"nothin"', 1))
    result = dl(
        "run", "--config", BASE, "--trust", f"{mine}_b", "--set", *toy_settings(toy_city, setting(f"{mine}_b", "Log"))
    )
    assert result.exit_code == 2
    assert_one_line(result.stderr, "unknown word 'nothin'; did you mean 'nothing'?", f"{mine}_b.py, line 7")
    assert not snapshot(Path("run"))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"kind": "tracker", "affects": None}, r"affects: None: expected words"),
        ({"kind": 3, "affects": "nothing"}, r"Role\(3\): expected what it is, in a word"),
        ({"kind": "tracker", "affects": "rates", "takes": 3}, r"takes: 3: expected words"),
        ({"kind": "tracker", "affects": "rates", "arguments": {"tag": "nothing"}}, r"arguments: tag: expected a Role"),
    ],
)
def test_a_role_that_is_none_is_refused_where_it_is_made(said, message):
    with pytest.raises(OptionError, match=message):
        Role(**said)


def test_words_of_parts_are_words_too():
    assert Role("mine", affects="rates momentum", takes="rates momentum").takes == ("rates", "momentum")


def test_a_class_that_steps_the_optimiser_cannot_affect_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lying.py").write_text(
        "from catalyst_cityscapes.callbacks import GradientStep, PolyLR\n"
        "from catalyst_cityscapes.recipe.role import Role\n"
        "class Step(GradientStep):\n    ROLE = Role('tracker', affects='nothing')\n"
        "class Rate(PolyLR):\n    ROLE = Role('tracker', affects='nothing')\n"
    )
    for key, target, what in (
        ("gradient_step", "Step", "steps the optimiser"),
        ("poly_lr", "Rate", "writes the learn"),
    ):
        setting = f"callbacks.{key}={{_target_: lying.{target}{', base_lr: 0.01' if target == 'Rate' else ''}}}"
        with pytest.raises(InputError, match=f"{target} says that it affects nothing, but by its interfaces it {what}"):
            load_recipe([BASE], [setting], ("lying",))
