"""Writes `float32_spread.json`: how far float32's rounding moves each quantity of each golden file.

    .venv/bin/python tests/support/golden/derive_spreads.py [FILE ...]

Each golden file's computation runs once as it is, and `DRAWS` times with float32's rounding as noise (rounding.py). The
table holds the root mean square and the largest absolute difference over all draws and elements. It depends on the
network, the input and the law, and on no processor but for the first run's own roundings (a hundredth). Named files
alone are replaced in the table.
"""

import json
import sys
import time

import cv2
import torch

from support.golden.rounding import spread
from support.golden.runs import QUANTITIES
from support.golden.tolerances import DRAWS, SAME_WINDOWS, TABLE


def as_entry(spreads: dict[str, tuple[float, float]]) -> dict[str, list[float]]:
    """As the table holds them: three digits."""
    return {key: [float(f"{value:.3g}") for value in pair] for key, pair in spreads.items()}


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for name in names or [name for name in QUANTITIES if name not in SAME_WINDOWS]:
        begin = time.time()
        found = spread(QUANTITIES[name], DRAWS)
        # Read again, since another run may be adding files at the same time.
        table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
        table[name] = as_entry(found)
        lines = (f" {json.dumps(key)}: {json.dumps(table[key])}" for key in sorted(table))
        TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(f"{name}: {time.time() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
