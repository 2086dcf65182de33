#!/usr/bin/env bash
# One GPU, under 8 minutes, no network: training step and tester beside the control arm at Cityscapes' size. Not run yet: no GPU was at hand.
#   bash benchmarks/gpu_speed.sh
# A short CamVid training in both precisions, three seeds, takes longer and is a lab of its own:
#   catalyst-dl ab camvid/pspnet50 --arm fast=swap/fast_step --seeds 3 --set experiment.epochs=20 model.pretrained=false
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tool/setup.sh
bench() { .venv/bin/catalyst-dl bench "$@"; }
bench step --crop 713 --batch 8 --steps 8 --turns 3 --threads 4 --arm fp32 --arm bf16 --arm "bf16 channels_last compile fused"
bench tester --part network --part outside --turns 3 --threads 4
bench data --turns 3 --samples 12
