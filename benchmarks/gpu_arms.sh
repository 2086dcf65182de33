#!/usr/bin/env bash
# The full CamVid recipe through both arms (Catalyst and control) on three seeds, one GPU, and each checkpoint's strict score.
# Needs dataset/camvid (docs in README.md) and initmodel/resnet50_v2.pth, or INIT=false for random weights. Not run yet.
#   [INIT=false] [EPOCHS=100] bash benchmarks/gpu_arms.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tool/setup.sh
init=${INIT:-true} epochs=${EPOCHS:-100}
for seed in 0 1 2; do
  for arm in catalyst control; do
    name=camvid_${arm}_seed$seed
    control=()
    if [ "$arm" = control ]; then control=(--control); fi
    .venv/bin/catalyst-dl run --config camvid/pspnet50 "${control[@]}" --overwrite --set "experiment.seed=$seed" \
      "experiment.name=$name" "experiment.epochs=$epochs" "model.pretrained=$init" engine.device=cuda
    .venv/bin/catalyst-dl test --run "exp/$name" --device cuda
  done
done
.venv/bin/python - <<'PY'
import json, pathlib
for path in sorted(pathlib.Path("exp").glob("camvid_*_seed*/result/*/val/*/score.json")):
    score = json.loads(path.read_text())
    print(f"{score['experiment']:28} epoch {score['epoch']:3} mIoU {score['mIoU']:.4f} mAcc {score['mAcc']:.4f} allAcc {score['allAcc']:.4f}")
PY
