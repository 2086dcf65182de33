#!/usr/bin/env bash
# Trains a recipe through Catalyst, one process per GPU (or one on the CPU).
#   bash tool/train_cat.sh --config cityscapes/pspnet50            all visible GPUs
#   bash tool/train_cat.sh -n 4 --config cityscapes/pspnet50       4 processes
# Everything after -n N goes to `catalyst-dl run`; with --control the same recipe runs on the control arm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tool/setup.sh
processes=
if [ "${1:-}" = "-n" ]; then
  processes=${2:?"-n needs a number of processes"}
  shift 2
fi
if [ $# -eq 0 ]; then
  sed -n '2,5s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
processes=${processes:-$(.venv/bin/python -c 'import torch; print(max(torch.cuda.device_count(), 1))')}
if [ "$processes" = 1 ]; then
  exec .venv/bin/catalyst-dl run "$@"
fi
# torchrun would take these over even under nohup, and end the run when the terminal closes.
signals=SIGTERM
for name in SIGINT SIGHUP SIGQUIT; do
  if [ "$(trap -p $name)" != "trap -- '' $name" ]; then signals+=,$name; fi
done
exec .venv/bin/torchrun --standalone --signals-to-handle "$signals" --no-python --nproc_per_node "$processes" \
  .venv/bin/catalyst-dl run "$@"
