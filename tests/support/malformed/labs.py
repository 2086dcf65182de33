"""Malformed labs, arms, ladder plans, and what lint and diff are given."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from catalyst_cityscapes.lab.ladder.file import read_ladder
from catalyst_cityscapes.lab.ladder.ladder import KIND, ladder_arms
from catalyst_cityscapes.lab.plan.plan import Plan, write_plan
from support.faults.hostile_files import Payload, laughs, npz_header, write_zip
from support.malformed.making import ESCAPE, Case, file
from support.runs.labs import ARMS, BASE, lab_plan, lab_settings, write_run

TRUSTED = ("support",)
LADDER = "from: toy/pspnet50\ncomponents:\n  head: swap/head_lr\n  draws: swap/replayed_draws\n"
SETTINGS = tuple(lab_settings(Path("city")))
AB = ("ab", BASE, *SETTINGS, "--trust", *TRUSTED, "--to", "new", "--threads", "1", "--dry-run")
AGAIN = ("ab", BASE, *SETTINGS, "--trust", *TRUSTED, "--to", "lab", "--threads", "1", "--seeds", "2", "--dry-run")
ARM = tuple(word for arm in ARMS for word in ("--arm", arm))
LADDER_MY = ("ladder", "--plan", "my.yml", *SETTINGS, "--trust", *TRUSTED, "--to", "new", "--threads", "1", "--dry-run")
AB_REPORT = ("ab", "--report-only", "--to", "lab")
LADDER_REPORT = ("ladder", "--report-only", "--to", "ladder")
SCORE = "runs/head/seed_1/score/score.json"


def furnish_labs() -> None:
    """Adds two finished labs, `lab` of `ab` and `ladder` of `ladder`, whose scores are made up."""
    plan = lab_plan(Path("lab"), Path("city"))
    Path("ladder.yml").write_text(LADDER)
    arms, roles = ladder_arms(read_ladder("ladder.yml", SETTINGS, TRUSTED))
    ladder = Plan(Path("ladder"), arms, (0, 1), TRUSTED, kind=KIND, extra=roles.to_json())
    for made in (plan, ladder):
        write_plan(made)
        for index, (arm, seed) in enumerate(made.runs()):
            write_run(made, arm, seed, share=0.5 + index / 50)


def entries(path: str, change: Callable[[dict], object]) -> Callable[[], object]:
    """Changes the content of a JSON file."""

    def make() -> None:
        content = json.loads(Path(path).read_text())
        change(content)
        Path(path).write_text(json.dumps(content))

    return make


def plan_of(name: str, change: Callable[[dict], object], *parts: str) -> Case:
    return Case(f"lab's plan: {name}", AB_REPORT, ("lab/plan.json: ", *parts), entries("lab/plan.json", change))


def roles(name: str, change: Callable[[dict], object], *parts: str) -> Case:
    make = entries("ladder/plan.json", lambda plan: change(plan["extra"]))
    return Case(f"ladder's roles: {name}", LADDER_REPORT, ("ladder/plan.json: extra: ", *parts), make)


def scored(name: str, make: Callable[[], object], *parts: str) -> Case:
    return Case(f"lab's score: {name}", AB_REPORT, (f"lab/{SCORE}: ", *parts), make)


def matrices(**arrays: object) -> Callable[[], object]:
    """Writes the matrices of the score."""
    return lambda: np.savez(Path("lab", SCORE).with_suffix(".npz"), **arrays, allow_pickle=True)


def arm(name: str, word: str, *parts: str, make: Callable[[], object] = lambda: None) -> Case:
    return Case(f"arm: {name}", (*AB, "--arm", word), parts, make)


def ladder(name: str, text: str, *parts: str) -> Case:
    return Case(f"ladder plan: {name}", LADDER_MY, parts, file("my.yml", text))


def component(name: str, entry: str, *parts: str) -> Case:
    return ladder(name, f"from: toy/pspnet50\ncomponents:\n  {entry}\n", *parts)


LABS = [
    Case("lab's plan: none", ("ab", "--report-only", "--to", "city"), ("city: no lab (a folder without plan.json)",)),
    Case("lab's plan: text", AB_REPORT, ("lab/plan.json: not readable",), file("lab/plan.json", "hello")),
    Case("lab's plan: bytes", AB_REPORT, ("lab/plan.json: not readable",), file("lab/plan.json", b"\xff\x81")),
    Case("lab's plan: a nest", AB_REPORT, ("lab/plan.json: not readable",), file("lab/plan.json", "[" * 100_000)),
    Case("lab's plan: a list", AB_REPORT, ("lab/plan.json: no plan of a lab",), file("lab/plan.json", "[1]")),
    plan_of("a name that leaves", lambda x: x["arms"][1].update(name="../../exp"), "'../../exp' cannot name a folder"),
    plan_of("a name of escapes", lambda x: x["arms"][1].update(name=ESCAPE), "cannot name a folder"),
    plan_of("a name twice", lambda x: x["arms"][1].update(name="base"), "two arms of one name"),
    plan_of("a negative seed", lambda x: x.update(seeds=[-1]), "seeds.0: "),
    plan_of("no arms", lambda x: x.update(arms=[]), "arms: "),
    plan_of("another kind", lambda x: x.update(kind="lad"), "kind: Input should be 'ab' or 'ladder'"),
    plan_of("an unknown section", lambda x: x["arms"][1]["recipe"].update(optimiser={}), "arms.1.recipe.optimiser: "),
    Case("lab: a ladder as ab", ("ab", "--report-only", "--to", "ladder"), ("ladder: a lab of kind ladder",)),
    Case("lab: ab as a ladder", ("ladder", "--report-only", "--to", "lab"), ("lab: a lab of kind 'ab'",)),
    Case("lab: a file as folder", (*AB[:-5], "--to", "good.pth/x", *ARM), ("good.pth",)),
    Case(
        "lab: a run of another seed",
        (*AGAIN, *ARM),
        ("lab/runs/head/seed_1/recipe.yml: experiment.seed is 0, planned 1",),
        lambda: Path("lab/runs/head/seed_1/recipe.yml").write_bytes(
            Path("lab/runs/head/seed_0/recipe.yml").read_bytes()
        ),
    ),
    Case(
        "lab: a run's recipe of laughs",
        (*AGAIN, *ARM),
        ("lab/runs/head/seed_1/recipe.yml: more than 100000 values",),
        file("lab/runs/head/seed_1/recipe.yml", laughs()),
    ),
    Case(
        "lab: another recipe of an arm",
        (*AGAIN, "--arm", "head=optimizer.lr=1"),
        ("lab/plan.json: arm head: optimizer.lr is 0.001 in this lab, 1",),
    ),
    roles("nothing", dict.clear, "start: Field required"),
    roles("text", lambda x: x.update(rungs="x"), "rungs: "),
    roles("no components", lambda x: x.update(rungs=[]), "it has no components"),
    roles("a name that leaves", lambda x: x["rungs"][0].update(name="../x"), "components.../x: expected a letter"),
    roles("a number as arm", lambda x: x["rungs"][0].update(added=5), "rungs.0.added: "),
    scored("text", file(f"lab/{SCORE}", "hello"), "no usable score"),
    scored("a nest", file(f"lab/{SCORE}", "[" * 100_000), "no usable score"),
    scored("a list", file(f"lab/{SCORE}", "[]"), "no usable score"),
    scored("another folder's", entries(f"lab/{SCORE}", lambda x: x.update(matrices="../../x.npz")), "no usable score"),
    scored("no number", entries(f"lab/{SCORE}", lambda x: x.update(mIoU=float("nan"))), "mIoU nan"),
    scored("text for a number", entries(f"lab/{SCORE}", lambda x: x.update(mIoU="high")), "no usable score"),
    scored("a hash of markup", entries(f"lab/{SCORE}", lambda x: x["protocol"].update(hash="[/a]")), "protocol: not"),
    scored("code", matrices(matrices=np.array([Payload(Path("ran"))], object)), "python objects, which are not read"),
    scored(
        "negative", matrices(matrices=np.full((2, 3, 3), -1), images=["a", "b"], names=["c"] * 3), "counts of pixel"
    ),
    scored("fractions", matrices(matrices=np.full((2, 3, 3), 0.5), images=["a", "b"], names=["c"] * 3), "counts of"),
    scored(
        "matrices that claim to be huge",
        lambda: write_zip(Path("lab", SCORE).with_suffix(".npz"), {"matrices.npy": npz_header((10**7, 19, 19))}),
        "score.npz is unusable (matrices: shape",
    ),
    scored("no zip file", file(f"lab/{Path(SCORE).with_suffix('.npz')}", "x"), "score.npz is unusable"),
    Case(
        "lab's score: another protocol",
        AB_REPORT,
        ("lab/runs/base/seed_0/score/score.json and ", f"lab/{SCORE}: different protocols"),
        entries(f"lab/{SCORE}", lambda x: x["protocol"].update(hash="0" * 12)),
    ),
]
ARM_CASES = [
    arm("a path", "../../x=swap/head_lr", "--arm ../../x=swap/head_lr: '../../x' cannot name a folder"),
    arm("a dot", ".=swap/head_lr", "'.' cannot name a folder"),
    arm("a slash", "a/b=swap/head_lr", "'a/b' cannot name a folder"),
    arm("an escape sequence", f"{ESCAPE}=swap/head_lr", "cannot name a folder"),
    arm("markup", "[/red]=swap/head_lr", "'[/red]' cannot name a folder"),
    arm("no name", "swap/head_lr", "--arm swap/head_lr: expected NAME=OVERLAY"),
    arm("the base's name", "Base=swap/head_lr", "there is an arm 'base' already"),
    arm(
        "no such overlay", "x=swap/haed_lr", "--arm x: swap/haed_lr: no such config", "did you mean 'swap/head_lr.yml'?"
    ),
    arm("a target", "x=callbacks.x._target_=os.system", "--arm x: callbacks.x._target_: target 'os.system' is outside"),
    arm("a logdir", "x=experiment.logdri=/etc", "--arm x: experiment.logdri: unknown key; did you mean 'logdir'?"),
    arm("another test", "x=protocol.flip=false", "arm x: protocol.flip: "),
    arm(
        "an overlay with a target",
        "x=my.yml",
        "my.yml: callbacks.x._target_: target 'torchvision.io.write_file'",
        make=file("my.yml", "callbacks: {x: {_target_: torchvision.io.write_file, filename: ran, data: 1}}"),
    ),
    arm("an overlay of laughs", "x=my.yml", "--arm x: my.yml: more than 100000", make=file("my.yml", laughs())),
]
LADDERS = [
    ladder("text", "hello", "my.yml: hello: no key of a ladder file"),
    ladder("a python tag", "from: !!python/name:os.system\n", "my.yml: not readable as YAML"),
    ladder("laughs", laughs(), "my.yml: more than 100000 values"),
    ladder("a ring of bases", "base: my.yml\n", "my.yml: base: my.yml leads back to itself"),
    ladder("an unknown key", "form: toy/pspnet50\n", "my.yml: form: no key of a ladder file; did you mean 'from'?"),
    ladder("no components", "from: toy/pspnet50\n", "my.yml: components: missing"),
    ladder("a list of components", "from: toy/pspnet50\ncomponents: [a]\n", "my.yml: components: "),
    ladder("no such recipe", "from: toy/pspnet5\ncomponents: {a: swap/blur}\n", "my.yml: from: toy/pspnet5: no such"),
    ladder("no seeds", f"{LADDER}seeds: 0\n", "my.yml: seeds: Input should be greater than 0"),
    ladder("another goal", f"{LADDER}to: swap/batch\n", "my.yml: all components together are not `to`: "),
    component("a path as component", "../../x: swap/head_lr", "components.../../x: expected a letter or digit"),
    component("a component of nothing", "x: []", "my.yml: components.x: changes nothing"),
    component("a number as component", "x: 5", "my.yml: components.x: "),
    component("no such overlay", "x: swap/haed_lr", "my.yml: components.x: swap/haed_lr: no such config"),
    component(
        "a target in an overlay",
        "x: {overlay: {callbacks: {x: {_target_: torchvision.io.write_file, filename: ran, data: 1}}}}",
        "my.yml: components.x.overlay: callbacks.x._target_: target 'torchvision.io.write_file'",
    ),
    component(
        "a target in a setting", "x: callbacks.x._target_=os.system", "components.x: callbacks.x._target_: target 'os"
    ),
    component("a resolver", "x: {overlay: {data: {root: '${oc.env:HOME}'}}}", "data.root: ", "only references"),
    component("an order of mappings", "x: {overlay: {augmentation: {order: [{a: 1}]}}}", "augmentation.order"),
    component("a protocol of mappings", "x: {overlay: {protocol: {name: {a: 1}}}}", "protocol.name: "),
    Case("ladder: no second recipe", ("ladder", "toy/pspnet50"), ("FROM",)),
    Case("ladder: an unknown design", (*LADDER_MY, "--design", "ad"), ("--design ad: ",), file("my.yml", LADDER)),
]
MEASURED = [
    Case("lint: no recipe", ("lint",), ("no recipe: give one",)),
    Case("lint: no such recipe", ("lint", "toy/pspnet5"), ("toy/pspnet5: no such config",)),
    Case("lint: an unknown rule", ("lint", BASE, "--allow", "frip"), ("frip",)),
    Case("lint: a target", ("lint", BASE, "model._target_=os.system"), ("--set: model._target_: target 'os.system'",)),
    Case("lint: no draws", ("lint", BASE, "--draws", "0"), ("--draws", "0")),
    Case("diff: one side", ("diff", BASE), ("Missing argument",)),
    Case("diff: no such recipe", ("diff", BASE, "toy/pspnet5"), ("toy/pspnet5: no such config",)),
    Case("diff: an empty layer", ("diff", BASE, f"{BASE}++swap/blur"), ("an empty layer",)),
    Case("diff: a third recipe", ("diff", BASE, BASE, BASE), ("a third recipe?",)),
    Case("diff: a setting as a side", ("diff", BASE, "optimizer.lr=1"), ("a setting where the second recipe should",)),
    Case("diff: a folder without a run", ("diff", BASE, "city"), ("city/recipe.yml: no such config",)),
    Case(
        "diff: another ending", ("diff", BASE, BASE, "--json", "x.txt"), ("--json x.txt: expected the name of a .json",)
    ),
    Case(
        "diff: a target", ("diff", BASE, f"{BASE}+callbacks.x._target_=os.system"), ("target 'os.system' is outside",)
    ),
    Case(
        "diff: a run's recipe of bytes",
        ("diff", BASE, "exp/done"),
        ("recipe.yml: not readable as YAML",),
        file("exp/done/recipe.yml", b"\xff\x81"),
    ),
]
LAB_CASES = [*LABS, *ARM_CASES, *LADDERS, *MEASURED]
