#!/usr/bin/env bash
# Builds the documentation into build/site, offline; any warning is an error. Open build/site/index.html.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
./setup.sh dev
if [ "$(cat .venv-docs/.made-from 2>/dev/null)" != "$(cksum <requirements-docs.txt)" ]; then
  .venv/bin/python -m venv --clear .venv-docs
  .venv-docs/bin/pip --disable-pip-version-check --quiet install --requirement requirements-docs.txt
  cksum <requirements-docs.txt >.venv-docs/.made-from
fi
# The package is read, not installed: the parser needs no more than the standard library.
PYTHONPATH=$PWD NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict 2>&1 | { grep -v '^INFO' || true; }
echo "docs.sh: build/site/index.html"
