#!/usr/bin/env bash
# Packs what is uploaded to Grand Challenge: the image, and the weights as the model tarball for /opt/ml/model.
#
#   IMAGE     name of the image (default deeppsma)
#   WEIGHTS   folder of members to pack (default resources/weights)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
image=${IMAGE:-deeppsma} weights=${WEIGHTS:-resources/weights}
docker save "$image" | gzip -c >deeppsma.tar.gz.partial
mv deeppsma.tar.gz.partial deeppsma.tar.gz
# Sorted, without owners and times: the same weights give the same tarball.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$weights" -cf - . | gzip -nc >model.tar.gz
ls -lh deeppsma.tar.gz model.tar.gz
