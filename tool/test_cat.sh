#!/usr/bin/env bash
# Scores a checkpoint with the reference's multi-patch tester.
#   bash tool/test_cat.sh                                               the newest run below exp/
#   bash tool/test_cat.sh exp/cityscapes_pspnet50                       that run
#   bash tool/test_cat.sh CONFIG CHECKPOINT [KEY=VALUE ...]             any checkpoint, e.g. an official one
set -euo pipefail
start=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tool/setup.sh
# Paths are the caller's: relative to where the script was called, else to the project.
locate() { if [ -e "$start/$1" ]; then echo "$start/$1"; else echo "$1"; fi; }
case $# in
  0) exec .venv/bin/catalyst-dl test ;;
  1) exec .venv/bin/catalyst-dl test --run "$(locate "$1")" ;;
esac
config=$(locate "$1") checkpoint=$(locate "$2")
shift 2
exec .venv/bin/catalyst-dl test --checkpoint "$checkpoint" --config "$config" "$@"
