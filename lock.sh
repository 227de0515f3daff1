#!/usr/bin/env bash
# Writes requirements.lock: what the image is built from, every package pinned with its hashes. torch itself, and the CUDA
# parts that it brings, come from the index that the Dockerfile names, pinned by version: each index builds its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --disable-pip-version-check --quiet install uv
"$work/venv/bin/uv" pip compile --quiet --generate-hashes --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
  --no-annotate --no-header --no-emit-package torch --no-emit-package triton --no-emit-package setuptools \
  requirements.txt --output-file "$work/lock"
# Of CUDA's parts there is one set for each index: they come with torch.
"$work/venv/bin/python" - "$work/lock" >requirements.lock <<'PY'
import re
import sys

print("# Made by ./lock.sh of requirements.txt; do not edit.")
for block in re.split(r"^(?=\S)", open(sys.argv[1], encoding="utf-8").read(), flags=re.M):
    if block.strip() and not block.startswith(("#", "nvidia-", "cuda-")):
        print(block.rstrip())
PY
grep -c '^[a-z]' requirements.lock
