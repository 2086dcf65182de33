#!/usr/bin/env bash
# The whole road in one folder, on a CPU, by the commands that the real data set takes: toy city, official preparation,
# training through Catalyst, strict test, official score, report. Under 2 minutes on 2 cores.
#   bash tool/city_road.sh [FOLDER [KEY=VALUE ...]]       default: exp/city_road; settings go to the recipe
# CITY sets the size of the toy city, e.g. CITY="--train 64 --val 16 --test 4 --height 128 --width 256".
set -euo pipefail
start=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
project=$PWD
bash tool/setup.sh
folder=$(cd "$start" && realpath -m "${1:-$project/exp/city_road}")
if [ $# -gt 0 ]; then shift; fi
data=$folder/city run=$folder/run
# Small enough for two cores; what the caller gives comes last and wins.
settings=(experiment.name=city_road "experiment.logdir=$run" "data.root=$data" experiment.epochs=4 'data.crop=[49,49]'
  protocol.base_size=128 sampling.workers=0 "$@")
city=${CITY:---train 16 --val 6 --test 3 --height 64 --width 128}
if [ -e "$run" ]; then
  echo "tool/city_road.sh: $run exists already; choose an empty folder" >&2
  exit 2
fi

# shellcheck disable=SC2086  # several words
.venv/bin/python -m catalyst_cityscapes.toy_city "$data" $city
# As downloaded: polygons and label ids, no train ids and no lists. The preparation makes them.
find "$data/gtFine" -name '*_gtFine_labelTrainIds.png' -delete
rm -rf "$data/list"
.venv/bin/catalyst-dl prepare cityscapes "$data" --allow-partial

.venv/bin/catalyst-dl browse --config toy/pspnet50 --set "${settings[@]}" --count 6 --output "$folder/sheet.png"
.venv/bin/catalyst-dl run --config toy/pspnet50 --set "${settings[@]}"
bash tool/test_cat.sh "$run"
.venv/bin/catalyst-dl evaluate --run "$run"
.venv/bin/catalyst-dl report "$run"
echo "done: $run/report.html"
