"""The law of rounding, and what the golden files themselves say about it."""

import numpy as np
import pytest
import torch

from support.golden.derive_spreads import as_entry
from support.golden.inputs import load_golden
from support.golden.rounding import UNIT_ROUNDOFF, Float32Rounding, spread
from support.golden.runs import QUANTITIES
from support.golden.tolerances import DRAWS, check, share, tolerances

pytestmark = pytest.mark.usefixtures("golden_threads")
TRAININGS = ("forward_train_pspnet50_z1", "forward_train_pspnet50_z8")
TRAJECTORIES = ("trajectory_pspnet50_z8", "trajectory_pspnet50_z8_wd")
# One run is off the truth by half of what two may be apart.
ONE_RUN = 0.5


@pytest.mark.parametrize("n", [64, 1024, 16384])
@pytest.mark.parametrize("kind", ["matrix product", "mean"])
def test_the_law_is_the_plain_order_of_additions(n, kind):
    """Noise as large as the errors of a float32 sum that adds one term after the other, and not ten times as large."""
    random = np.random.default_rng(n)
    terms = random.standard_normal((200, n)).astype(np.float32)
    if kind == "mean":
        terms = np.abs(terms)
    in_order = np.cumsum(terms, axis=1, dtype=np.float32)[:, -1].astype(np.float64)
    actual = np.sqrt(((in_order - terms.astype(np.float64).sum(axis=1)) ** 2).mean())
    a, ones = torch.from_numpy(terms), torch.ones(n, 1)
    plain = a.double().sum(dim=1)
    with Float32Rounding(0):
        noisy = (a @ ones)[:, 0] if kind == "matrix product" else a.mean(dim=1) * n
    noise = (noisy.double() - plain).square().mean().sqrt().item()
    assert 0.5 * actual < noise < 5 * actual


def test_single_operations_round_once():
    x = torch.rand(10_000, dtype=torch.float64) + 1
    with Float32Rounding(0):
        noisy = x * 3
    relative = ((noisy - 3 * x) / (3 * x)).numpy()
    assert np.sqrt((relative**2).mean()) == pytest.approx(UNIT_ROUNDOFF / 3**0.5, rel=0.05)
    with Float32Rounding(0):
        assert torch.equal(torch.cat([x, x])[:10_000].clone(), x)


def test_later_steps_amplify():
    """Roundings of large logits move probabilities by as much, though softmax does not care for their level."""
    logits = torch.randn(2, 5, 9, generator=torch.Generator().manual_seed(0))

    def softmax_at(level):
        return lambda: {"prob": torch.softmax(logits + level, dim=1).numpy()}

    small, large = (spread(softmax_at(level), DRAWS)["prob"][1] for level in (0, 1000))
    assert large > 50 * small


def test_every_golden_file_with_floats_has_its_tolerances():
    for file, run in QUANTITIES.items():
        assert callable(run)
        for quantity, (root_mean_square, largest) in tolerances(file).spreads.items():
            assert 0 <= root_mean_square <= largest < 1, (file, quantity)


@pytest.mark.slow
@pytest.mark.golden
def test_the_table_is_what_the_law_gives():
    """On this processor, whichever it is: its own roundings may be half of the law's, which adds an eighth."""
    entry = as_entry(spread(QUANTITIES["tester_net_process_nostd"], DRAWS))
    stored = tolerances("tester_net_process_nostd").spreads
    assert entry["prob"][0] == pytest.approx(stored["prob"][0], rel=0.3)
    assert 0.5 < entry["prob"][1] / stored["prob"][1] < 2


@pytest.mark.parametrize("file", ["forward_pspnet50_z8", "forward_pspnet50_z1", "forward_pspnet101_c11"])
def test_the_references_logits_obey_the_law(file):
    """Their distance from float64, which the reference's own run stored."""
    actual = load_golden(file)["meta"]["max_abs_diff_vs_float64"]
    assert 0.02 < actual / tolerances(file).each("logits") < ONE_RUN


@pytest.mark.parametrize("file", TRAININGS)
def test_the_references_losses_and_gradients_obey_the_law(file):
    golden, allowed = load_golden(file), tolerances(file)
    for kind in ("main_loss", "aux_loss"):
        assert share(golden[kind], golden[f"f64_{kind}"], allowed.loss()) < ONE_RUN
    norms = np.log(golden["grad_norms"]), np.log(golden["f64_grad_norms"])
    assert share(*norms, allowed.each("log_grad_norms")) < ONE_RUN


@pytest.mark.parametrize("file", TRAJECTORIES)
def test_the_references_trajectories_obey_the_law(file):
    golden, allowed = load_golden(file), tolerances(file)
    each = allowed.losses(len(golden["main_loss"]))
    for kind in ("main_loss", "aux_loss"):
        assert share(golden[kind], golden[f"f64_{kind}"], each) < ONE_RUN
    for name, kind, actual in zip(golden["names"], golden["kind"], golden["max_abs_diff_vs_float64_run"], strict=True):
        if f"state/{name}" in allowed.spreads:
            assert actual <= allowed.each(f"state/{name}") * ONE_RUN, (name, kind)


def test_what_is_no_number_or_off_is_found():
    check("equal", [1.0, 2.0], [1.0, 2.0], 0.0)
    for found in ([1.0, 2.1], [1.0, np.nan], [np.inf, 2.0]):
        with pytest.raises(AssertionError, match="planted: off by"):
            check("planted", found, [1.0, 2.0], 0.05)
    with pytest.raises(AssertionError):
        check("shapes", [1.0], 1.0, 1.0)
