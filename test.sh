#!/usr/bin/env bash
# Runs the built image as the platform does, twice, and checks what comes out.
#
# No network, read-only root file system, no capabilities, a user id that the image does not know, no HOME in the
# second run, /tmp in memory, 15 GiB of memory, 64 MiB of shared memory. test/input is made by the image itself
# (a synthetic patient) if it is not there; put a real case there to try it.
#
#   IMAGE     name of the image (default deeppsma)
#   RECIPE    recipe (default second_opinion)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
image=${IMAGE:-deeppsma} recipe=${RECIPE:-second_opinion}
# An id that the image does not know; your own where that is not root, so that you can remove what is written.
user=$(id -u):$(id -g)
if [ "$(id -u)" = 0 ]; then user=12345:54321; fi
limits=(--network none --read-only --cap-drop ALL --security-opt no-new-privileges
        --memory 15g --memory-swap 15g --shm-size 64m --pids-limit 512 --tmpfs /tmp)
gpu=()
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then gpu=(--gpus all); fi

if [ -d test/input ] && [ ! -e test/input/.synthetic ]; then
  rm -rf test/truth  # of an earlier synthetic patient: it says nothing of the case that lies there now
fi
if [ ! -d test/input ]; then
  echo "test.sh: making a synthetic patient in test/input"
  work=$(mktemp -d)
  chmod 777 "$work"
  docker run --rm "${limits[@]}" --user "$user" --volume "$work:/work" --entrypoint python "$image" \
    -m deeppsma phantom /work --seed 9001 >/dev/null
  cp -r "$work"/case_9001/input test/input
  touch test/input/.synthetic
  rm -rf test/truth
  cp -r "$work"/case_9001/truth test/truth
  rm -rf "$work"
fi

rm -rf test/output
for run in first second; do
  mkdir -p "test/output/$run"
  chmod 777 "test/output/$run"
  entry=()
  command=()
  if [ "$run" = second ]; then  # HOME may be missing on the platform
    entry=(--entrypoint env)
    command=(-u HOME python /opt/app/inference.py)
  fi
  began=$(date +%s)
  docker run --rm "${gpu[@]}" "${limits[@]}" --user "$user" --env "DEEPPSMA_RECIPE=$recipe" \
    --volume "$PWD/test/input:/input:ro" --volume "$PWD/test/output/$run:/output" \
    "${entry[@]}" "$image" "${command[@]}"
  echo "test.sh: $run run took $(($(date +%s) - began)) s"
done

for tracer in psma fdg; do
  found=$(cd test/output/first && ls "images/$tracer-pet-ttb")
  [ "$(echo "$found" | wc -l)" = 1 ] || { echo "test.sh: not exactly one file for $tracer: $found" >&2; exit 1; }
  cmp "test/output/first/images/$tracer-pet-ttb/$found" "test/output/second/images/$tracer-pet-ttb/$found"
done
echo "test.sh: both runs wrote identical masks"
if [ -d test/truth ]; then
  docker run --rm "${limits[@]}" --user "$user" --volume "$PWD/test:/test:ro" --entrypoint python "$image" \
    -m deeppsma score /test/output/first /test/truth
fi

# A failed job must end with one line that names cause and remedy, and leave nothing.
mkdir -p test/output/failed
chmod 777 test/output/failed
if docker run --rm "${limits[@]}" --user "$user" --volume "$PWD/test/output/failed:/output" "$image" \
  2>test/output/stderr; then
  echo "test.sh: a job without input must fail" >&2; exit 1
fi
tail -n 1 test/output/stderr | grep -q '^deeppsma: error: /input: ' || { cat test/output/stderr >&2; exit 1; }
[ -z "$(ls -A test/output/failed)" ] || { echo "test.sh: a failed job left files" >&2; exit 1; }
# Arguments would change nothing: they are refused, before any folder is looked at.
status=0
docker run --rm "${limits[@]}" --user "$user" "$image" --report --recipe nonsense 2>test/output/stderr || status=$?
[ "$status" = 5 ] && [ "$(wc -l <test/output/stderr)" = 1 ] \
  && grep -q "^deeppsma: error: arguments '--report --recipe nonsense': .* --entrypoint deeppsma" test/output/stderr \
  || { echo "test.sh: arguments must be refused, not $status" >&2; cat test/output/stderr >&2; exit 1; }
if docker run --rm "${limits[@]}" --user "$user" --volume "$PWD/test/input:/input:ro" "$image" 2>test/output/stderr; then
  echo "test.sh: a job without an output folder must fail" >&2; exit 1
fi
tail -n 1 test/output/stderr | grep -q '^deeppsma: error: /output: .*; mount one: -v FOLDER:/output$' \
  || { cat test/output/stderr >&2; exit 1; }

# The image's other commands, read-only, offline and as anybody.
docker run --rm "${limits[@]}" --user "$user" --entrypoint deeppsma "$image" doctor
docker run --rm "${limits[@]}" --user "$user" --volume "$PWD/test/input:/input:ro" \
  --volume "$PWD/test/output/first:/output" --entrypoint deeppsma "$image" report /output /input
[ -s test/output/first/report.pdf ] || { echo "test.sh: no report" >&2; exit 1; }
echo "test.sh: passed"
