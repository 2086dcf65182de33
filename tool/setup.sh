#!/usr/bin/env bash
# Creates .venv in the project with the pinned packages; does nothing when it is up to date. Installs nothing globally.
# uv does the installing: catalyst 22.4 has metadata that pip from 24.1 on refuses.
#   PYTHON=python3.12 bash tool/setup.sh    another interpreter (3.10 to 3.13)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=.venv/.installed
wanted=$(cat requirements.txt pyproject.toml tool/setup.sh | cksum)
if [ -x .venv/bin/catalyst-dl ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi

python=${PYTHON:-python3}
"$python" - <<'PY' || { echo "tool/setup.sh: $python is not Python 3.10 to 3.13; set PYTHON=..." >&2; exit 2; }
import sys
sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))
PY
echo "setting up .venv (a few minutes on a slow line, once)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
if [ -x .venv/bin/uv ]; then
  uv=.venv/bin/uv
elif command -v uv >/dev/null; then
  uv=uv
else
  .venv/bin/python -m pip install --quiet uv
  uv=.venv/bin/uv
fi
"$uv" pip install --quiet --python .venv/bin/python -r requirements.txt
"$uv" pip install --quiet --python .venv/bin/python --no-deps --editable .
echo "$wanted" >"$stamp"
