"""How well intervals and tests keep their promise on simulated labs with a known truth.

.venv/bin/python benchmarks/statistics_coverage.py              everything, about ten minutes on one core
.venv/bin/python benchmarks/statistics_coverage.py seeds power  some parts

Writes benchmarks/results/statistics_coverage_{seeds,images,false_positives,power}.csv and prints the tables of
docs/statistics.md. Seeded: the same numpy and scipy give the same files.
"""

import sys
from pathlib import Path

import numpy as np

from catalyst_cityscapes.bench.repeats import write_rows
from catalyst_cityscapes.lab.statistics import (
    holm,
    paired_t_test,
    seed_bounds,
    sign_flip_test,
    smallest_effect,
    smallest_sign_flip_p,
)
from interval_candidates import image_candidates, seed_candidates
from simulation import class_differences, draws, image_world, seed_differences

RESULTS = Path(__file__).parent / "results"
SEEDS = (3, 6, 10)
NOISES = {
    "normal": ("normal", "normal", 1.0),
    "exponential": ("exponential", "exponential", 1.0),
    "lognormal": ("lognormal", "lognormal", 1.0),
    "gamma 1/2": ("gamma 1/2", "gamma 1/2", 1.0),
    "exponential, arm twice as far": ("exponential", "exponential", 2.0),
    "base normal, arm exponential twice as far": ("normal", "exponential", 2.0),
    "only the arm scatters, gamma 4": ("normal", "gamma 4", np.inf),
    "only the arm scatters, exponential": ("normal", "exponential", np.inf),
}
WORLDS = {
    "as Cityscapes": {},
    "rare classes 3 x rarer": {"rarer": 3.0},
    "two seeds": {"seeds": 2},
    "large effect": {"effect": 0.5},
}


def coverage(method, above, below, experiments):
    """How often an interval held the truth, and on which side it missed it."""
    return {
        "method": method,
        "experiments": experiments,
        "coverage": round(1 - (above + below) / experiments, 4),
        "missed_low": round(above / experiments, 4),
        "missed_high": round(below / experiments, 4),
    }


def seeds_part(experiments=20000, chunk=2000, resamples=999):
    """Coverage of every interval over seeds."""
    rows = []
    for number, (noise, case) in enumerate(NOISES.items()):
        for seeds in SEEDS:
            rng = np.random.default_rng([1, number, seeds])
            counts = {}
            for _ in range(experiments // chunk):
                values = seed_differences(rng, (chunk, seeds), *case)
                for name, (low, high) in seed_candidates(values, rng, resamples).items():
                    found = [(low > 0).sum(), (high < 0).sum(), np.median((high - low) / case_sd(case))]
                    counts[name] = counts.get(name, np.zeros(3)) + found
            for name, (above, below, width) in counts.items():
                row = {"noise": noise, "seeds": seeds, **coverage(name, above, below, experiments)}
                rows.append({**row, "median_width_in_sd": round(width / (experiments // chunk), 3)})
    return rows


def case_sd(case):
    """Standard deviation of the differences of a case."""
    scale = case[2]
    return 1.0 if np.isinf(scale) else float(np.sqrt(1 + scale**2))


def images_part(experiments=4000, resamples=999, pool=20000, same_draws=20):
    """Coverage of every interval over images."""
    rows = []
    for number, (world, options) in enumerate(WORLDS.items()):
        for images in (10, 20, 100, 500):
            counts = {}
            for run in range(4):
                pool_world = image_world(100 * number + run, pool=pool, **options)
                rng = np.random.default_rng([2, number, images, run])
                for turn in range(experiments // 4):
                    if turn % same_draws == 0:
                        weights = draws(rng, resamples, images)
                    chosen = rng.integers(0, pool, images)
                    found = image_candidates(pool_world.base[:, chosen], pool_world.arm[:, chosen], weights)
                    for name, (low, high) in found.items():
                        missed = [low > pool_world.truth, high < pool_world.truth, high - low]
                        counts[name] = counts.get(name, np.zeros(3)) + missed
            for name, (above, below, width) in counts.items():
                row = {"images_like": world, "images": images, **coverage(name, above, below, experiments)}
                rows.append({**row, "mean_width_points": round(100 * width / experiments, 3)})
            print(f"images: {world}, {images} done", file=sys.stderr, flush=True)
    return rows


def false_positives_part(experiments=20000, families=5000, classes=19):
    """False positives of single tests, and of families of 19 correlated classes with and without Holm."""
    rows = []
    for number, (noise, case) in enumerate(NOISES.items()):
        for seeds in SEEDS:
            rng = np.random.default_rng([3, number, seeds])
            values = seed_differences(rng, (experiments, seeds), *case)
            common = {"noise": noise, "seeds": seeds}
            calls = {"sign-flip": sign_flip_test(values) <= 0.05, "paired t": paired_t_test(values) <= 0.05}
            calls["both agree"] = calls["sign-flip"] & calls["paired t"]
            for name, called in calls.items():
                rate = round(float(called.mean()), 4)
                rows.append({**common, "what": "one test", "test": name, "rate": rate, "power": ""})
            if np.isinf(case[2]) or case[0] != case[1]:
                continue
            null = class_differences(rng, families, seeds, case[0], case[2], classes)
            effects = np.where(np.arange(classes) < 3, 3.0 * case_sd(case), 0.0)
            for name, test in (("sign-flip", sign_flip_test), ("paired t", paired_t_test)):
                without, shifted = test(null), test(null + effects[None, :, None])
                called = np.array([holm(p) <= 0.05 for p in shifted])
                uncorrected = (without <= 0.05).any(axis=1).mean()
                with_holm = (without.min(axis=1) * classes <= 0.05).mean()
                some_real = called[:, 3:].any(axis=1).mean()
                power = called[:, :3].mean()
                for what, rate, found in (
                    ("19 classes, uncorrected", uncorrected, ""),
                    ("19 classes, Holm", with_holm, ""),
                    ("19 classes, Holm, 3 real effects of 3 sd", some_real, round(float(power), 4)),
                ):
                    rows.append({**common, "what": what, "test": name, "rate": round(float(rate), 4), "power": found})
    return rows


def power_part(experiments=20000):
    """How often the smallest effect is found that the t interval is said to find in 80 % of labs."""
    rows = []
    for number, noise in enumerate(("normal", "exponential", "lognormal")):
        for seeds in (3, 4, 5, *SEEDS[1:]):
            rng = np.random.default_rng([4, number, seeds])
            effect = smallest_effect(seeds, np.sqrt(2.0))
            values = effect + seed_differences(rng, (experiments, seeds), noise, noise)
            rows.append(
                {
                    "noise": noise,
                    "seeds": seeds,
                    "effect_in_sd_of_differences": round(effect / np.sqrt(2.0), 3),
                    "power_t_interval": round(float((seed_bounds(values)[0] > 0).mean()), 4),
                    "power_sign_flip": round(float((sign_flip_test(values) <= 0.05).mean()), 4),
                    "smallest_sign_flip_p": smallest_sign_flip_p(seeds),
                }
            )
    return rows


def table(rows, down, across, value):
    """A Markdown table; `down` and `across` are keys of the rows."""
    columns = list(dict.fromkeys(tuple(row[key] for key in across) for row in rows))
    lines = [" | ".join(("", *down, *(", ".join(map(str, column)) for column in columns), "")).strip()]
    lines.append("|" + "---|" * (len(down) + len(columns)))
    for place in dict.fromkeys(tuple(row[key] for key in down) for row in rows):
        cells = {
            tuple(row[key] for key in across): row[value] for row in rows if tuple(row[key] for key in down) == place
        }
        texts = [f"{100 * cells[column]:.1f}" if column in cells else "" for column in columns]
        lines.append(" | ".join(("", *map(str, place), *texts, "")).strip())
    return "\n".join(lines)


PARTS = {"seeds": seeds_part, "images": images_part, "false_positives": false_positives_part, "power": power_part}


def main(wanted):
    """Runs the parts, writes their files and prints their tables."""
    for name in wanted or PARTS:
        rows = PARTS[name]()
        path = RESULTS / f"statistics_coverage_{name}.csv"
        write_rows(path, rows)
        print(f"\n{path.name}\n")
        if name == "seeds":
            print(table(rows, ("noise", "seeds"), ("method",), "coverage"))
        elif name == "images":
            print(table(rows, ("images_like", "images"), ("method",), "coverage"))
        elif name == "false_positives":
            print(table(rows, ("what", "noise"), ("test", "seeds"), "rate"))
        else:
            print("\n".join(",".join(map(str, row.values())) for row in rows))


if __name__ == "__main__":
    main(sys.argv[1:])
