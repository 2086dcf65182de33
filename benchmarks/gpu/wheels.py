"""Fetches the wheels that benchmarks/gpu_all.py needs on a machine that has torch and its friends, and no network.

    .venv/bin/python benchmarks/gpu/wheels.py [--python 3.12] [--folder .whl]

The versions are those of this project's .venv. `--no-deps` takes nothing else along; uv's older pip reads catalyst's
metadata, which newer ones refuse.
"""

import argparse
import subprocess
import sys
from importlib import metadata
from pathlib import Path

BROUGHT = (
    "catalyst",
    "hydra-slayer",
    "omegaconf",
    "pydantic",
    "pydantic-core",
    "annotated-types",
    "typing-inspection",
    "tensorboardX",
    "cityscapesScripts",
    "kornia-rs",
)
"""What a machine made for torch was seen to lack; kornia-rs is optional."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")


def main() -> int:
    """Downloads the wheels; returns pip's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default="3.12", help="version on the machine")
    parser.add_argument("--folder", default=".whl")
    options = parser.parse_args()
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv) if uv.exists() else "uv", "tool", "run", "--from", "pip<24.1", "pip", "download", "--quiet"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation", "cp", "--python-version", options.python]
    command += [part for name in PLATFORMS for part in ("--platform", name)]
    command += ["--dest", options.folder, *(f"{name}=={metadata.version(name)}" for name in BROUGHT)]
    code = subprocess.run(command).returncode
    wheels = sorted(Path(options.folder).glob("*.whl"))
    print(f"{len(wheels)} wheels, {sum(path.stat().st_size for path in wheels) / 2**20:.1f} MiB in {options.folder}")
    return code


if __name__ == "__main__":
    sys.exit(main())
