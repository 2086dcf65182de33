#!/usr/bin/env bash
# Set-up, lint, and the whole test suite (about 10 minutes on 2 quiet cores). Arguments go to pytest:
#   bash tool/run_tests.sh -m "not slow"
#   bash tool/run_tests.sh --every-cpu [--short]    only the golden tests, under each instruction set of the machine
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tool/setup.sh
if [ "${1-}" = --every-cpu ]; then
  exec .venv/bin/python tool/every_cpu.py "${@:2}"
fi
bash tool/install_chromium.sh || echo "no Chromium: the tests of the report in a browser will be skipped" >&2
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# One torch thread a worker: bitwise tests need a fixed number, and two workers fill two cores. A module stays with one
# worker, because its tests share fixtures; tests/conftest.py puts the longest first.
OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
