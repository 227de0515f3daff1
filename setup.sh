#!/usr/bin/env bash
# Makes the virtual environment .venv, or brings it up to date. Called by demo.sh and check.sh.
#
#   PYTHON            the Python to use (3.11 or newer; default: the newest found)
#   TORCH_INDEX_URL   where torch comes from, e.g. https://download.pytorch.org/whl/cpu for the small CPU build
#                     (default: pip's own index)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
extra=${1:-}  # "train" for pictures of training, "dev" for the checks

python=${PYTHON:-}
for candidate in python3.13 python3.12 python3.11 python3 python; do
  [ -n "$python" ] && break
  if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
  fi
done
if [ -z "$python" ]; then
  echo "setup.sh: no Python 3.11 or newer found; install one, or name it in PYTHON" >&2
  exit 1
fi

requirements=requirements${extra:+-$extra}.txt
stamp=.venv/.made-from-${extra:-run}
wanted=$(cat requirements*.txt pyproject.toml | cksum)
# Another build of torch needs a new environment: pip would call the one that is there good enough.
choice=.venv/.torch-index-url
if [ -n "${TORCH_INDEX_URL+set}" ] && [ -e "$choice" ] && [ "$(cat "$choice")" != "$TORCH_INDEX_URL" ]; then
  rm -rf .venv
fi
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv || {
  rm -rf .venv
  echo "setup.sh: '$python -m venv' failed; on Debian and Ubuntu install the package python3-venv" >&2
  exit 1
}
[ -e "$choice" ] || echo "${TORCH_INDEX_URL:-}" >"$choice"
echo "setup.sh: installing into .venv (a few minutes the first time)" >&2
pip=(.venv/bin/python -m pip --disable-pip-version-check --quiet install)
if [ -n "${TORCH_INDEX_URL:-}" ]; then
  "${pip[@]}" --index-url "$TORCH_INDEX_URL" "$(grep '^torch==' requirements.txt)"
fi
"${pip[@]}" --requirement "$requirements"
"${pip[@]}" --no-deps --editable .
echo "$wanted" >"$stamp"
