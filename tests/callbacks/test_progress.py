"""The lines that a training prints where no terminal is."""

import re

from semseg_ref.base.iteration_log import read_iteration_log
from support.runs.toy import SMALL, toy_recipe, train_catalyst


def test_a_line_has_the_rate_of_the_step_whose_loss_it_shows(toy_city, workdir, capsys):
    train_catalyst(toy_recipe(toy_city, *SMALL, "callbacks.progress.every=1"))
    printed = re.findall(r"^train epoch .* loss (\S+) lr (\S+) ", capsys.readouterr().out, flags=re.MULTILINE)
    rows = read_iteration_log("run/iterations.csv")
    assert printed == [(f"{row.loss:.4f}", f"{row.lr_backbone:.3g}") for row in rows]
    assert len({rate for _, rate in printed}) == len(rows) > 2
