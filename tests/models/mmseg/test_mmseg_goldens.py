"""mmsegmentation's networks against what mmsegmentation 1.2.2 itself computed, at its README's tolerances.

Left out of the folder, because each is above 100 kB: keys_hrnet_* and keys_ocrnet_* (train_* lists their parameters and
buffers by name, and every weight is drawn from its name), forward_* of deeplabv3plus_r50 at 769, ocrnet_w48 and
segformer_b0 at even sizes.
"""

import pytest

from support.golden.inputs import load_golden
from support.golden.mmseg_checks import check_forward, check_init, check_keys, check_nmf, check_train

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("golden_threads")]
LARGE = pytest.mark.slow
LISTED = ("segformer_b0", "segformer_b3", "deeplabv3plus_r18", "deeplabv3plus_r50", "pspnet_r50", "segnext_b")
FORWARD = {
    "segformer_b0": ("segformer_b0_odd",),
    "segformer_b3": ("segformer_b3",),
    "pspnet_r50": ("pspnet_r50", "pspnet_r50_512x1024"),
    "deeplabv3plus_r50": ("deeplabv3plus_r50_512x1024",),
    "hrnet_w48": ("hrnet_w48_odd",),
    "ocrnet_w48": ("ocrnet_w48_odd",),
    "segnext_b": ("segnext_b", "segnext_b_odd_b2"),
}
"""Golden files of each network's logits."""


@pytest.mark.parametrize("listed", LISTED)
def test_names_shapes_order_and_geometry(listed):
    check_keys(listed, load_golden(f"mmseg/keys_{listed}.json"))


@pytest.fixture(
    scope="module",
    params=[
        "segformer_b0",
        "segnext_b",
        *(
            pytest.param(name, marks=LARGE)
            for name in ("segformer_b3", "pspnet_r50", "deeplabv3plus_r50", "hrnet_w48", "ocrnet_w48")
        ),
    ],
)
def name(request) -> str:
    """Of a network; one fixture for several tests, so that pytest runs all of one network's together."""
    return request.param


def test_logits(name):
    for case in FORWARD[name]:
        check_forward(load_golden(f"mmseg/forward_{case}.npz"))


def test_losses_gradients_and_running_statistics_in_float64(name):
    check_train(name, load_golden(f"mmseg/train_{name}.npz"))


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_matrix_decomposition(mode):
    check_nmf(load_golden(f"mmseg/nmf_{mode}.npz"))


@pytest.mark.parametrize(
    "drawn",
    [
        pytest.param("pspnet_r50", marks=LARGE),
        pytest.param("deeplabv3plus_r50", marks=LARGE),
        "hrnet_w18",
        "ocrnet_w18",
        "segformer_b0",
        "segnext_t",
    ],
)
def test_random_weights_follow_the_laws(drawn):
    check_init(drawn, load_golden(f"mmseg/init_{drawn}.json"))
