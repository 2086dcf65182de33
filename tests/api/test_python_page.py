"""The examples of docs/python.md run as they stand, one after the other, on a toy city and a small network."""

import re

import pytest

from catalyst_cityscapes.toy_city import build_toy_city
from support.places import PROJECT

BLOCKS = re.findall(r"^```python\n(.*?)^```", (PROJECT / "docs" / "python.md").read_text(), flags=re.M | re.S)
NETWORK = "from support.networks.small import SmallLogits\n\n\nclass MyNet(SmallLogits):\n    pass\n"
OVERLAY = """
model: {_target_: my_net.MyNet, classes: 19}
data: {crop: [33, 33]}
sampling: {batch_size: 2, workers: 0}
protocol: {crop: [65, 97], base_size: 96}
"""


@pytest.mark.usefixtures("one_thread")
def test_the_examples_run(workdir, capsys):
    build_toy_city(workdir / "dataset" / "toy_city", train=5, val=2, test=1, height=64, width=96)
    (workdir / "my_net.py").write_text(NETWORK)
    (workdir / "my.yml").write_text(OVERLAY)
    assert len(BLOCKS) == 5
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert len(names["comparison"].rows) == 2
    assert names["best"]["run"] == "toy_pspnet50"
    out = capsys.readouterr().out
    assert "mIoU/mAcc/allAcc" in out
    assert "2 scores of one protocol" in out
    assert out.rstrip().endswith("--set: callbacks.poly_lr.pwoer: unknown argument; did you mean 'power'?")
