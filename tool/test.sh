#!/usr/bin/env bash
# The reference's test launcher on the control arm: bash tool/test.sh DATASET EXPERIMENT
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dataset=${1:?"which data set? e.g. cityscapes"} experiment=${2:?"which experiment? e.g. pspnet50"}
config=tool/official/$dataset/${dataset}_$experiment.yaml
[ -f "$config" ] || { echo "tool/test.sh: no such config $config; there are: $(echo tool/official/*/*.yaml)" >&2; exit 2; }
bash tool/setup.sh
folder=exp/$dataset/$experiment
mkdir -p "$folder/result"
cp "$config" semseg_ref/tester.py tool/test.sh "$folder/"
.venv/bin/python -m semseg_ref.tester --config "$config" 2>&1 | tee "$folder/result/test-$(date +%Y%m%d_%H%M%S).log"
