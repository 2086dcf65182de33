#!/usr/bin/env bash
# The whole road on a machine without a GPU, in under 10 minutes on 2 cores: set-up, a procedural toy city in the Cityscapes
# layout, a small PSPNet through Catalyst, the strict multi-patch test, a table and a picture. Starts anew each time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tool/setup.sh
.venv/bin/python -m catalyst_cityscapes.toy_city dataset/toy_city_256 --train 256 --val 16 --test 4 --workers 2
.venv/bin/catalyst-dl run --config toy/pspnet18 --overwrite "$@"
bash tool/test_cat.sh
