#!/usr/bin/env bash
# The reference's launcher on the control arm (no Catalyst): trains, then tests.
#   bash tool/train.sh DATASET EXPERIMENT     e.g. cityscapes pspnet50; config tool/official/DATASET/DATASET_EXPERIMENT.yaml
# Copies the config and the scripts to exp/DATASET/EXPERIMENT and keeps the logs beside the model and the result.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
dataset=${1:?"which data set? e.g. cityscapes"} experiment=${2:?"which experiment? e.g. pspnet50"}
config=tool/official/$dataset/${dataset}_$experiment.yaml
[ -f "$config" ] || { echo "tool/train.sh: no such config $config; there are: $(echo tool/official/*/*.yaml)" >&2; exit 2; }
bash tool/setup.sh
folder=exp/$dataset/$experiment
now=$(date +%Y%m%d_%H%M%S)
mkdir -p "$folder/model" "$folder/result"
cp "$config" semseg_ref/train.py semseg_ref/tester.py tool/train.sh tool/test.sh "$folder/"
gpus=$(.venv/bin/python -c 'import torch; print(torch.cuda.device_count())')
launcher=(.venv/bin/python)
if [ "$gpus" -gt 1 ]; then
  # torchrun would take these over even under nohup, and end the run when the terminal closes.
  signals=SIGTERM
  for name in SIGINT SIGHUP SIGQUIT; do
    if [ "$(trap -p $name)" != "trap -- '' $name" ]; then signals+=,$name; fi
  done
  launcher=(.venv/bin/torchrun --standalone --signals-to-handle "$signals" --nproc_per_node "$gpus")
fi
"${launcher[@]}" -m semseg_ref.train --config "$config" 2>&1 | tee "$folder/model/train-$now.log"
bash tool/test.sh "$dataset" "$experiment"
