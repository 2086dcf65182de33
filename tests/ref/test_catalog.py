"""Class names and colours of the data sets."""

import numpy as np
import pytest

from semseg_ref.base.errors import DataError
from semseg_ref.catalog import FOLDER, load_colors, load_names, resolve


@pytest.mark.parametrize(("name", "classes"), [("cityscapes", 19), ("camvid", 11), ("voc2012", 21)])
def test_tables_agree(name, classes):
    names = load_names(f"{name}_names.txt", classes)
    colors = load_colors(f"{name}_colors.txt", classes)
    assert colors.dtype == np.uint8
    assert len(set(names)) == len({tuple(color) for color in colors.tolist()}) == classes


def test_voc_colours_follow_the_bit_rule():
    """Bit 3 j + c of the class index is bit 7 - j of channel c."""
    for index, color in enumerate(load_colors("voc2012_colors.txt").tolist()):
        rebuilt = sum(((color[bit % 3] >> (7 - bit // 3)) & 1) << bit for bit in range(8))
        assert rebuilt == index


def test_a_present_file_goes_before_the_catalog(tmp_path):
    assert resolve("anywhere/camvid_names.txt") == FOLDER / "camvid_names.txt"
    own = tmp_path / "camvid_names.txt"
    own.write_text("one\n\ntwo\n")
    assert load_names(own) == ["one", "two"]


def test_errors(tmp_path):
    with pytest.raises(DataError, match=r"did you mean 'camvid_names\.txt'"):
        load_names("camvid_name.txt")
    with pytest.raises(DataError, match="11 class names, expected 12"):
        load_names("camvid_names.txt", 12)
    path = tmp_path / "c.txt"
    for text in ("1 2\n", "1 2 256\n", "1 2 x\n", "1 2 -3\n"):
        path.write_text("0 0 0\n" + text)
        with pytest.raises(DataError, match="line 2"):
            load_colors(path)
