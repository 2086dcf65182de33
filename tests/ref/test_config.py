"""Official configuration files: values, overrides and errors of the reference."""

import copy
import pickle

import pytest

from semseg_ref.base.errors import DataError, OptionError, OptionTypeError
from semseg_ref.config import (
    CfgNode,
    exit_on_input_error,
    load_cfg_from_cfg_file,
    merge_cfg_from_list,
    parse_command_line,
)
from support.golden.inputs import load_golden
from support.places import PROJECT

OFFICIAL = PROJECT / "tool" / "official" / "cityscapes"
GOLDEN = load_golden("config.json")
# The reference's tables of names and colours lie in its own data folder; ours are in the catalog.
OWN_PATHS = ("colors_path", "names_path")


@pytest.fixture
def pspnet50():
    return load_cfg_from_cfg_file(OFFICIAL / "cityscapes_pspnet50.yaml")


@pytest.mark.parametrize("name", sorted(GOLDEN["files"]))
def test_official_files_have_the_references_values(name):
    cfg = load_cfg_from_cfg_file(OFFICIAL / name)
    found = [[key, value, type(value).__name__] for key, value in cfg.items() if key not in OWN_PATHS]
    assert found == [row for row in GOLDEN["files"][name] if row[0] not in OWN_PATHS]
    assert [key for key in cfg if key in OWN_PATHS] == list(OWN_PATHS)


@pytest.mark.parametrize("case", GOLDEN["merge"], ids=lambda c: " ".join(c["opts"]))
def test_overrides_of_the_reference(pspnet50, case):
    before = copy.deepcopy(pspnet50)
    if case["ok"]:
        merged = merge_cfg_from_list(pspnet50, case["opts"])
        changed = {k: [v, type(v).__name__] for k, v in merged.items() if v != before[k]}
        assert changed == case["changed"]
    else:
        error = {"ValueError": ValueError, "AssertionError": AssertionError}[case["error"]]
        with pytest.raises(error):
            merge_cfg_from_list(pspnet50, case["opts"])
    assert pspnet50 == before


@pytest.mark.parametrize(
    ("opts", "error", "message"),
    [
        (["powr", "0.9"], OptionError, "did you mean 'power'"),
        (["base_lr"], OptionError, "'base_lr' has no value"),
        (["base_lr", "1"], OptionTypeError, "did you mean '1.0'"),
        (["evaluate", "true"], OptionTypeError, "did you mean 'True'"),
        (["data_root", "123"], OptionTypeError, "quote it"),
        (["manual_seed", "1"], OptionTypeError, "empty in the file"),
        (["weight_decay", "None"], OptionTypeError, "expected float"),
    ],
)
def test_override_errors_help(pspnet50, opts, error, message):
    with pytest.raises(error, match=message):
        merge_cfg_from_list(pspnet50, opts)


def test_none_for_an_empty_option_and_values_that_are_no_text(pspnet50):
    merged = merge_cfg_from_list(pspnet50, ["resume", "None", "epochs", 5])
    assert merged.resume is None
    assert merged.epochs == 5


def test_list_becomes_tuple_where_the_present_value_is_one():
    assert merge_cfg_from_list(CfgNode({"a": (1,)}), ["a", "[2, 3]"]).a == (2, 3)


def test_node_attributes(pspnet50):
    assert pspnet50.train_h == 713
    pspnet50.train_h = 9
    assert pspnet50["train_h"] == 9
    assert not hasattr(pspnet50, "train_x")
    with pytest.raises(OptionError, match="did you mean 'train_h'"):
        _ = pspnet50.train_hh
    assert pickle.loads(pickle.dumps(pspnet50)) == pspnet50
    assert CfgNode({"a": {"b": 1}}).a.b == 1


def test_later_sections_win_and_empty_ones_are_skipped(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("A:\n  x: 1\n  y: 2\nEMPTY:\nB:\n  x: 3\n")
    assert load_cfg_from_cfg_file(path) == {"x": 3, "y": 2}


@pytest.mark.parametrize(
    ("name", "text", "error", "message"),
    [
        ("c.yml", "A:\n  x: 1\n", OptionError, "must end in .yaml"),
        ("c.yaml", "A: 1\n", OptionError, "'A' is no section"),
        ("c.yaml", "- 1\n", OptionError, "expected sections"),
        ("c.yaml", "", OptionError, "expected sections"),
        ("c.yaml", "A:\n  x: [1\nB:\n  y: 2\n", OptionError, "line 3: invalid YAML"),
        ("c.yaml", "A:\n  base_lr: 1e-4\n", OptionTypeError, "write 1.0e-4"),
    ],
)
def test_file_errors(tmp_path, name, text, error, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(error, match=message):
        load_cfg_from_cfg_file(tmp_path / name)


def test_missing_file_suggests_a_neighbour():
    with pytest.raises(OptionError, match=r"did you mean 'cityscapes_pspnet50\.yaml'"):
        load_cfg_from_cfg_file(OFFICIAL / "cityscapes_pspnet5.yaml")


def test_command_line(capsys):
    config = str(OFFICIAL / "cityscapes_pspnet50.yaml")
    cfg = parse_command_line("test", ["--config", config, "TEST.scales", "[0.5]", "rotate_min", "-5"])
    assert (cfg.scales, cfg.rotate_min) == ([0.5], -5)
    for arguments in (["--config", config, "powr", "1.0"], ["--config", "missing.yaml"], [], ["--confi", config]):
        with pytest.raises(SystemExit) as stop:
            parse_command_line("test", arguments)
        assert stop.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_only_input_errors_become_one_line(capsys):
    with pytest.raises(SystemExit) as stop, exit_on_input_error("program"):
        raise DataError("first\nsecond")
    assert stop.value.code == 2
    assert capsys.readouterr().err == "program: error: first second\n"
    with pytest.raises(ZeroDivisionError), exit_on_input_error():
        _ = 1 / 0
