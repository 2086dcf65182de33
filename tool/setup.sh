#!/usr/bin/env bash
# Creates .venv in the project with the pinned packages; does nothing when it is up to date. Installs nothing globally.
# uv does the installing: catalyst 22.4 has metadata that pip from 24.1 on refuses.
#   PYTHON=python3.12 bash tool/setup.sh    another interpreter than the first that fits of python3, python3.13 ... python3.11
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version_of() { "$1" -c 'import sys; print(*sys.version_info[:2], sep=".")' 2>/dev/null || true; }
fits() { case $(version_of "$1") in 3.11 | 3.12 | 3.13) ;; *) false ;; esac; } # numpy 2.3.5 needs 3.11
refuse() { echo "tool/setup.sh: $*" >&2 && exit 2; }

if [ -x .venv/bin/python ]; then
  present=$(version_of .venv/bin/python)
  fits .venv/bin/python || refuse ".venv holds Python ${present:-that does not start}, needed is 3.11 to 3.13; remove .venv first"
  if [ -n "${PYTHON:-}" ] && [ "$(version_of "$PYTHON")" != "$present" ]; then
    refuse ".venv holds Python $present and PYTHON=$PYTHON is another; remove .venv first"
  fi
else
  python=
  for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if fits "$candidate"; then python=$candidate && break; fi
  done
  found=$(version_of "${PYTHON:-python3}")
  [ -n "$python" ] || refuse "needs Python 3.11 to 3.13, ${PYTHON:-python3} is ${found:-no Python}; set PYTHON=/path/to/python3.12, say"
fi

stamp=.venv/.installed
wanted=$(cat requirements.txt pyproject.toml tool/setup.sh | cksum)
if [ -x .venv/bin/catalyst-dl ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
  exit 0
fi
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
# Compiled once, here: uv leaves it to the first import, and where PYTHONDONTWRITEBYTECODE is set every process would
# compile torch and the rest again, 3 s each.
"$uv" pip install --quiet --compile-bytecode --python .venv/bin/python -r requirements.txt
"$uv" pip install --quiet --python .venv/bin/python --no-deps --editable .
echo "$wanted" >"$stamp"
