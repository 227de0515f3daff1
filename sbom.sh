#!/usr/bin/env bash
# Writes deeppsma.cdx.json beside the image: its bill of materials (CycloneDX 1.6), made of the Python that is in it.
#
#   IMAGE     name of the image (default deeppsma)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
image=${IMAGE:-deeppsma}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" --disable-pip-version-check --quiet install cyclonedx-bom==7.5.0
# What is installed is asked of the image itself; the tool stays outside it.
docker run --rm --network none --entrypoint /opt/venv/bin/python "$image" -c '
from importlib.metadata import distributions
for found in sorted({(d.metadata["Name"], d.version) for d in distributions()}):
    print(*found, sep="==")' >"$work/installed.txt"
"$work/venv/bin/cyclonedx-py" requirements "$work/installed.txt" --output-reproducible --spec-version 1.6 \
  --output-format JSON --output-file deeppsma.cdx.json
echo "sbom.sh: deeppsma.cdx.json, $(wc -l <"$work/installed.txt") packages"
