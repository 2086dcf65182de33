#!/usr/bin/env bash
# Puts a Chromium on the machine for the tests that open the HTML report in a real browser; does nothing when there is one.
# Debian and Ubuntu, as root or with sudo that asks nothing. Without it those tests are skipped and say so.
set -euo pipefail
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
root=()
if [ "$(id -u)" != 0 ]; then root=(sudo -n); fi
if ! command -v apt-get >/dev/null || ! "${root[@]}" true 2>/dev/null; then
  echo "tool/install_chromium.sh: needs apt-get and root; install chromium by hand" >&2
  exit 1
fi
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
