"""Malformed score files, archives, official and plain Catalyst configs, and command lines."""

from pathlib import Path

from support.faults.hostile_files import laughs, write_zip
from support.malformed.making import RESULT, RUN, Case, arguments, file, official, score, voc

RESUME = RUN[:-1]
SUBMIT = "--root city --list city/list/fine_test.txt"
RUNNER = "runner: {_target_: catalyst.dl.SupervisedRunner, _var_: r}\nrun: []\n"


def zip_of(*names: str) -> object:
    return lambda: write_zip(Path("z.zip"), dict.fromkeys(names, b""))


SCORES = [
    arguments("scores of nothing", "scores nothing", "nothing: no score.json here"),
    Case("score: text", ("scores", "s.json"), ("s.json: no score file",), file("s.json", "hello")),
    Case("score: a list", ("scores", "s.json"), ("s.json: no score file", "lacks mIoU"), file("s.json", "[1]")),
    Case("score: a deep nest", ("scores", "s.json"), ("s.json: no score file",), file("s.json", "[" * 100_000)),
    Case("score: bytes", ("scores", "s.json"), ("s.json: no score file",), file("s.json", b"\xff\x81")),
    Case(
        "score: text for a number",
        ("scores", RESULT),
        ("score.json: ", "mIoU: 'high'"),
        score(lambda x: x.update(mIoU="high")),
    ),
    Case(
        "score: a protocol of text",
        ("scores", RESULT),
        ("score.json: ", "protocol: 'ss'"),
        score(lambda x: x.update(protocol="ss")),
    ),
    Case(
        "score: a protocol without hash",
        ("scores", RESULT),
        ("score.json: ", "lacks its name or its hash"),
        score(lambda x: x.update(protocol={})),
    ),
    Case(
        "score: reported, without classes",
        ("report", "exp/done", "--score", f"{RESULT}/score.json"),
        ("score.json: no readable score file", "classes"),
        score(lambda x: x.pop("classes")),
    ),
    Case(
        "score: reported, a deep nest",
        ("report", "exp/done", "--score", "s.json"),
        ("s.json: no readable score file",),
        file("s.json", "[" * 100_000),
    ),
    Case(
        "score: evaluated, damaged",
        ("evaluate", "--run", "exp/done", "--no-instances"),
        ("score.json: damaged",),
        file(f"{RESULT}/score.json", "{"),
    ),
    Case(
        "score: evaluated, an unknown key",
        ("evaluate", "--run", "exp/done", "--no-instances"),
        ("score.json: protocol: unknown key 'crap'; did you mean 'crop'?",),
        score(lambda x: x["protocol"].update(crap=1)),
    ),
]

ARGUMENTS = [
    arguments("an unknown command", "trian", "no command 'trian'"),
    arguments("another case", "RUN", "no command 'RUN'; did you mean 'run'?"),
    arguments("an unknown option", "run --cofnig x", "No such option", "--cofnig"),
    arguments("run: no recipe", "run", "no recipe: give --config FILE"),
    arguments("run: a stray word", "run toy/pspnet50", "toy/pspnet50: what is this?"),
    Case("arguments: run: resume nothing", (*RESUME, "--resume", "no.pth"), ("--resume no.pth: no such checkpoint",)),
    arguments("run: a target", "run --config toy/pspnet50 --set model._target_=os.system", "--set: model._target_: "),
    arguments("schema: to a folder", "schema --to city", "--to city: this is a folder; expected a file"),
    arguments("schema: below a file", "schema --to city/list/fine_val.txt/x", "fine_val.txt: this folder cannot be"),
    Case("arguments: schema: to nothing", ("schema", "--to", ""), ("--to .: this is a folder",)),
    arguments("browse: no recipe", "browse", "no recipe: give --config FILE"),
    arguments("browse: another ending", "browse --config toy/pspnet50 --output x.html", "--output x.html: expected"),
    arguments("browse: below a file", "browse --config toy/pspnet50 --output good.pth/x.png", "good.pth: this folder"),
    arguments("browse: no samples", "browse --config toy/pspnet50 --count 0", "--count", "0"),
    arguments("test: no checkpoint", "test --config toy/pspnet50", "--checkpoint FILE is missing"),
    arguments("test: an unknown protocol", "test --protocol semseg", "--protocol", "semseg-ss"),
    arguments("test: two recipes", "test --run exp/done --config toy/pspnet50", "--run and --config: give one"),
    arguments("test: no run", "test --run exp/nothing", "exp/nothing: no such run", "done"),
    arguments("test: a run without checkpoint", "test --run exp/done --trust support", "last.pth: no such check"),
    arguments("evaluate: two sources", "evaluate --run a --predictions b", "give one of them"),
    arguments("evaluate: no predictions", "evaluate --predictions city --root city", "city: no predictions"),
    arguments(
        "evaluate: another root",
        f"evaluate --predictions {RESULT} --root exp",
        "exp/gtFine/val: no such folder",
    ),
    arguments("evaluate: no root", f"evaluate --predictions {RESULT}", "--root FOLDER is missing"),
    arguments("submit: two sources", "submit --verify a --run b", "give one of them"),
    arguments("submit: no list", "submit --verify good.pth", "--list FILE and --root FOLDER are missing"),
    arguments("submit: no zip file", f"submit --verify three.txt {SUBMIT}", "three.txt: cannot be read as a zip file"),
    arguments(
        "submit: a zip of another set",
        f"submit --verify z.zip {SUBMIT}",
        "z.zip: 1 of 1 ",
        make=zip_of("a.png"),
    ),
    arguments("weights: an unknown command", "weights inspcet x", "inspcet"),
    arguments("weights: no file", "weights inspect no.pth", "no.pth: no such checkpoint"),
    arguments("weights: nothing to verify with", "weights verify good.pth", "verify: give --config RECIPE, --sha256"),
    arguments("weights: no checksum", "weights verify good.pth --sha256 xyz", "xyz"),
    arguments("weights: another checksum", f"weights verify good.pth --sha256 {'0' * 64}", "good.pth: "),
    arguments("weights: a target that exists", "weights convert good.pth other.pth", "other.pth: exists already"),
    arguments("weights: another form", "weights convert good.pth x.pth --to safetensors", "x.pth: a file of the form"),
    arguments("weights: a very long name", f"weights inspect {'n' * 5000}", "nnn...: this name is too long for a file"),
    arguments("demo: no input", "demo", "no INPUT"),
    arguments("demo: a missing input", "demo nothing.png --run exp/done", "nothing.png: no such image"),
    arguments("demo: an empty folder", "demo e --run exp/done", "e: no image or video", make=lambda: Path("e").mkdir()),
    arguments("demo: two recipes", "demo x.png --run a --config b", "--run and --config: give one"),
    arguments("report: no run", "report exp/don", "exp/don: no such run folder; did you mean 'exp/done'?"),
    arguments("report: no recipe", "report city", "city: no recipe.yml in it"),
    arguments("report: a folder as output", "report exp/done --output city", "--output city: is a folder"),
    arguments(
        "report: a recipe of bytes",
        "report exp/done",
        "recipe.yml: not readable as YAML",
        make=file("exp/done/recipe.yml", b"\xff\x81"),
    ),
    arguments(
        "report: a recipe of laughs",
        "report exp/done",
        "recipe.yml: more than 100000 values",
        make=file("exp/done/recipe.yml", laughs()),
    ),
    arguments(
        "prepare: an unknown data set",
        "prepare Cityscape x",
        "data set 'Cityscape'; did you mean 'cityscapes'?",
    ),
    arguments("prepare: nothing", "prepare cityscapes", "prepare cityscapes: give the two zip files"),
    arguments("prepare: no such source", "prepare cityscapes no.zip --to p", "no.zip: no such file"),
    arguments("prepare: no zip file", "prepare cityscapes three.txt --to p", "three.txt: no complete zip file"),
    arguments(
        "prepare: a zip that leaves the folder",
        "prepare cityscapes z.zip --to p",
        "z.zip: entry '../x' is a path that may leave the folder",
        make=zip_of("../x", "gtFine/a"),
    ),
    arguments("prepare: another zip", "prepare cityscapes z.zip --to p", "z.zip: holds no gtFine/", make=zip_of("a/b")),
    arguments("prepare: two folders", "prepare camvid a b --to p", "prepare camvid: 2 sources"),
    arguments("prepare: another folder", "prepare camvid city --to p", "city: no trainannot/ in it"),
    arguments(
        "prepare: names that leave the folder",
        "prepare voc2012 voc --to p --allow-partial",
        "a path that may leave the prepared folder",
        make=voc("../../../gone"),
    ),
    arguments(
        "prepare: a manifest of brackets",
        "prepare cityscapes --check city",
        "city/prepared.json: damaged manifest",
        make=file("city/prepared.json", "[" * 100_000),
    ),
    arguments(
        "prepare: a manifest of numbers",
        "prepare cityscapes --check city",
        "city/prepared.json: no manifest",
        make=file("city/prepared.json", '{"id_space": 5}'),
    ),
    arguments("official: another ending", "run --config three.txt", "three.txt: "),
    arguments(
        "official: an overlay",
        "run --config official.yaml my.yml",
        "my.yml: an official config takes no overlays",
        make=file("my.yml", "a: 1"),
    ),
    arguments("official: an unknown option", "run --config official.yaml --set powr=1", "did you mean 'power'?"),
    arguments(
        "official: another network",
        "run --config official.yaml",
        "arch: 'ppsp' is neither",
        make=official(arch="ppsp"),
    ),
    arguments(
        "official: a list of its own to test",
        "run --config official.yaml",
        "test_list: other.txt is not val_list",
        make=official(test_list="other.txt"),
    ),
    arguments("official: a type", "run --config official.yaml", "experiment.epochs: ", make=official(epochs="many")),
    arguments(
        "official: a missing option",
        "run --config o.yaml",
        "the configuration has no option",
        make=file("o.yaml", "DATA: {arch: psp}"),
    ),
    arguments(
        "official: a section of text",
        "run --config o.yaml",
        "o.yaml: 'DATA' is no section",
        make=file("o.yaml", "DATA: x\n"),
    ),
    arguments(
        "plain Catalyst: no runner",
        "run --config s.yml",
        "s.yml: runner: expected a node",
        make=file("s.yml", "runner: 5\nrun: []\n"),
    ),
    arguments(
        "plain Catalyst: shared arguments",
        "run --config s.yml",
        "s.yml: shared_params: not supported",
        make=file("s.yml", "shared_params: {a: 1}\n" + RUNNER),
    ),
    arguments(
        "plain Catalyst: a private attribute",
        "run --config s.yml",
        "s.yml: x._var_: '__class__' is private",
        make=file("s.yml", RUNNER + "x: {_var_: r.__class__}\n"),
    ),
]
