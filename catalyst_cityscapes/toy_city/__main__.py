"""`python -m catalyst_cityscapes.toy_city ROOT`: build the toy city from the command line."""

import argparse
import sys

from catalyst_cityscapes.toy_city.writer import build_toy_city
from semseg_ref.base.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Builds the data set; 0 when done, 2 with one line on stderr when the user asked for what cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m catalyst_cityscapes.toy_city",
        description="Write made-up street scenes in the Cityscapes layout.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("root", help="folder to write into")
    parser.add_argument("--train", type=int, default=64, help="training scenes")
    parser.add_argument("--val", type=int, default=16, help="validation scenes")
    parser.add_argument("--test", type=int, default=8, help="test scenes")
    parser.add_argument("--height", type=int, default=128, help="pixels, 64 to 1024")
    parser.add_argument("--width", type=int, default=256, help="pixels, 64 to 2048")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal bytes")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = vars(parser.parse_args(arguments))
    try:
        folder = build_toy_city(**options)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{folder}: {options['train']} train, {options['val']} val, {options['test']} test scenes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
