#!/usr/bin/env bash
# Builds the image. What can be chosen, by environment:
#
#   IMAGE             name of the image (default deeppsma)
#   TARGET            exec (default: a process a case) or invoke (a server that stays; port 4743)
#   BASE_IMAGE        Python 3.11+ base (default docker.io/library/python:3.11-slim)
#   TORCH_VERSION     2.7.0 to 2.13.x (default 2.13.0)
#   TORCH_INDEX_URL   build of torch (default CUDA 12.6; .../whl/cpu for hosts without a GPU; empty for pip's own)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
arguments=()
for name in BASE_IMAGE TORCH_VERSION TORCH_INDEX_URL; do
  [ -n "${!name+set}" ] && arguments+=(--build-arg "$name=${!name}")
done
# What the image is made of, for whoever finds it later.
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' deeppsma/_version.py)
revision=$(git describe --always --dirty --abbrev=40 2>/dev/null || echo unknown)
created=$(git log -1 --format=%cI 2>/dev/null || echo unknown)
arguments+=(--build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created")
arguments+=(--target "${TARGET:-exec}")
exec docker build --platform=linux/amd64 "${arguments[@]}" --tag "${IMAGE:-deeppsma}" .
