"""Malformed recipes, overlays and settings."""

from support.faults.hostile_files import doubling, laughs
from support.malformed.making import ESCAPE, Case, recipe_file, setting

RECIPES = [
    recipe_file("empty", "", "my.yml: expected a YAML mapping"),
    recipe_file("a list", "- a\n", "my.yml: expected a YAML mapping"),
    recipe_file("bytes", b"\xff\xfe\x00\x81", "my.yml: not readable as YAML"),
    recipe_file("a NUL byte", b"data:\n  root: a\x00b\n", "my.yml: not readable as YAML"),
    recipe_file("an escaped NUL", 'data:\n  names: "a\\0b"\n', "my.yml: data.names: ", "control characters"),
    recipe_file("an escape sequence", 'data:\n  names: "a\\e[31mb"\n', "my.yml: data.names: ", "control characters"),
    recipe_file("a tab", "data:\n\troot: x\n", "my.yml: not readable as YAML", "line 2"),
    recipe_file("an open bracket", "data: [1\n", "my.yml: not readable as YAML"),
    recipe_file("a key twice", "data:\n  classes: 1\n  classes: 2\n", "my.yml: not readable as YAML", "duplicate"),
    recipe_file("a python tag", "data: !!python/object/apply:os.system ['true']\n", "my.yml: not readable as YAML"),
    recipe_file("a list as a key", "? [a, b]\n: 1\n", "my.yml: not readable as YAML"),
    recipe_file("a number of 5000 digits", f"data:\n  classes: {'9' * 5000}\n", "my.yml: not readable as YAML"),
    recipe_file("a billion laughs", laughs(), "my.yml: more than 100000 values"),
    recipe_file("laughs by merging", "a0: &a0 {x: 1}\n" + laughs().replace("[x]", "{x: 1}"), "my.yml: "),
    recipe_file("an alias in itself", "a: &a [*a]\n", "my.yml: an alias inside of what it stands for"),
    recipe_file("a deep nest", "a: " + "[" * 3000 + "]" * 3000, "my.yml: nested deeper than 50 levels"),
    recipe_file("a nest of 60", "a: " + "[" * 60 + "]" * 60, "my.yml: nested deeper than 50 levels"),
    recipe_file("a very long line", "a: " + "x" * 300_000, "my.yml: 300003 characters, expected at most"),
    recipe_file("doubling references", doubling(), "my.yml: shared.x", "once its references are filled in"),
    recipe_file("doubling lists", doubling(form="['{r}', '{r}']"), "my.yml: shared.x", "references are filled in"),
    recipe_file(
        "a reference to itself",
        "data:\n  train_list: ${data.train_list}\n",
        "data.train_list: ",
        "leads back to itself",
    ),
    recipe_file("references in a ring", "data:\n  names: ${data.colors}\n  colors: ${data.names}\n", "back to itself"),
    recipe_file(
        "a reference in a reference", "data:\n  train_list: ${data.${data.names}}\n", "data.train_list: ", "inside of"
    ),
    recipe_file(
        "a reference to nothing", "data:\n  train_list: ${data.rot}\n", "my.yml: data.train_list: ", "data.rot"
    ),
    recipe_file("a resolver", "data:\n  train_list: ${oc.env:HOME}\n", "my.yml: data.train_list: ", "only references"),
    recipe_file(
        "an unknown section", "optimiser:\n  lr: 1\n", "my.yml: optimiser: unknown key; did you mean 'optimizer'?"
    ),
    recipe_file("an upper case section", "OPTIMIZER:\n  lr: 1\n", "OPTIMIZER: unknown key; did you mean 'optimizer'?"),
    recipe_file(
        "an upper case key", "callbacks:\n  poly_lr:\n    POWER: 1\n", "POWER: unknown argument; did you mean 'power'?"
    ),
    recipe_file("a whole number as a key", "1: 2\n", "my.yml: "),
    recipe_file("no target", "model: {layers: 50}\ncriterion: {a: 1}\n", "my.yml: criterion.a: unknown argument"),
    recipe_file(
        "a scalar as a node", "criterion: 5\n", "my.yml: criterion: Input should be a valid dictionary (got 5)"
    ),
    recipe_file(
        "a number as target", "callbacks:\n  x: {_target_: 5}\n", "my.yml: callbacks.x._target_: expected a dotted"
    ),
    recipe_file(
        "a variable", "callbacks:\n  poly_lr: {power: {_var_: x}}\n", "callbacks.poly_lr.power._var_: unknown key"
    ),
    recipe_file(
        "a factory",
        "callbacks:\n  poly_lr: {kwargs: {_meta_factory_: 1}}\n",
        "poly_lr.kwargs._meta_factory_: unknown key",
    ),
    recipe_file(
        "a mode alone", "callbacks:\n  poly_lr: {power: {_mode_: call}}\n", "power._mode_: goes with a '_target_'"
    ),
    recipe_file("a base that is missing", "base: no.yml\n", "my.yml: base: no such file no.yml"),
    recipe_file("a base in a ring", "base: my.yml\n", "my.yml: base: my.yml leads back to itself"),
    recipe_file("a base that is a folder", "base: city\n", "my.yml: base: no such file city"),
    recipe_file("a name that leaves the folder", "experiment:\n  name: '..'\n", "experiment.name: String should match"),
    recipe_file("a path as name", "experiment:\n  name: a/b\n", "experiment.name: String should match"),
    recipe_file("three sides", "validation:\n  images: 0\nprotocol:\n  crop: [65, 65, 65]\n", "validation.images: "),
    recipe_file("too many classes", "protocol:\n  scales: [.nan]\n", "my.yml: protocol.scales: "),
    recipe_file("a date", "engine:\n  precision: 2020-01-01\n", "my.yml: engine.precision: "),
    recipe_file(
        "a wrong metric",
        "validation: {every: 1}\ncallbacks:\n  checkpoint: {metric: miou}\n",
        "callbacks.checkpoint.metric: loader 'valid' has no metric 'miou'; did you mean 'mIoU'?",
    ),
    recipe_file(
        "a wrong loader",
        "callbacks:\n  checkpoint: {metric: mIoU, loader: Valid}\n",
        "callbacks.checkpoint.loader: no loader 'Valid'; did you mean 'valid'?",
    ),
    recipe_file(
        "best without validation",
        "callbacks:\n  checkpoint: {metric: mIoU, select: best}\n",
        "callbacks.checkpoint.select: best needs loader 'valid'",
    ),
    recipe_file(
        "code as a filter",
        "callbacks:\n  x:\n    _target_: catalyst.callbacks.ControlFlowCallbackWrapper\n"
        "    base_callback: {_target_: catalyst_cityscapes.callbacks.PolyLR}\n"
        "    filter_fn: 'lambda epoch, loader: True'\n",
        "callbacks.x: filter_fn is run as python code",
    ),
    recipe_file("no callback", "callbacks: {x: {_target_: torch.nn.ReLU}}", "my.yml: callbacks.x: expected a callback"),
    recipe_file("half a callback", "callbacks: {poly_lr: {_mode_: partial}}", "callbacks.poly_lr: _mode_: partial"),
    recipe_file(
        "no network",
        "model: {_target_: torch.optim.SGD, params: []}",
        "my.yml: model: expected a torch.nn.Module, torch.optim.SGD is none",
        words=("run", "--config", "toy/pspnet50", "my.yml"),
    ),
    recipe_file("no optimiser", "optimizer: {_target_: torch.nn.ReLU, lr: 1}", "my.yml: optimizer"),
    recipe_file(
        "no criterion", "criterion: {_target_: torch.nn.ReLU}", "criterion: torch.nn.ReLU does not take logits"
    ),
    recipe_file(
        "no transform",
        "augmentation: {steps: {crop: {_target_: torch.nn.ReLU}}}",
        "my.yml: augmentation.steps.crop: torch.nn.ReLU does not take image and label",
    ),
    recipe_file(
        "an order of nodes", "augmentation: {order: [{_target_: torch.nn.ReLU}]}", "my.yml: augmentation.order: "
    ),
    recipe_file("a protocol of mappings", "protocol: {name: {a: 1}}", "my.yml: protocol.name: "),
    recipe_file("a base of a very long name", f"base: {'n' * 5000}", "my.yml: base: no such file "),
    Case("recipe: a very long name", ("run", "--config", "n" * 5000), ("nnn: no such config",)),
    Case("recipe: a folder", ("run", "--config", "city"), ("city: no such config",)),
    Case(
        "recipe: a terminal's sequence in its name",
        ("run", "--config", ESCAPE),
        ("?[31mred?]0;title?: no such config",),
    ),
]
SETTINGS = [
    setting("no value", "optimizer.lr", "--set optimizer.lr: expected key.path=value"),
    setting("no key", "=1", "--set =1: expected key.path=value"),
    setting("two dots", "optimizer..lr=1", "--set optimizer..lr=1: expected key.path=value"),
    setting("an open bracket", "data.crop=[33", "--set ", "data.crop=[33"),
    setting("a deep key", "a" + ".a" * 200 + "=1", "--set a.a", "expected key.path=value"),
    setting("a deep value", "a=" + "[" * 2000, "--set "),
    setting("a key below a scalar", "experiment.seed.x=1", "--set: experiment.seed: "),
    setting("another case", "Optimizer.lr=1", "--set: Optimizer: unknown key; did you mean 'optimizer'?"),
    setting("text for a number", "experiment.seed=ten", "--set: experiment.seed: Input should be a valid integer"),
    setting("an infinite rate", "protocol.stride_rate=.inf", "--set: protocol.stride_rate: "),
    setting("a control character", 'experiment.name="a\\e[1m"', "--set: experiment.name: ", "control characters"),
]
