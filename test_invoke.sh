#!/usr/bin/env bash
# Runs the image of the server (TARGET=invoke ./build.sh) as the platform does: waits for /health, posts the same case
# twice, and holds the masks against those that test.sh wrote. Run that first: it makes test/input and test/output.
#
#   IMAGE     name of the image (default deeppsma-invoke)
#   RECIPE    recipe (default second_opinion)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
image=${IMAGE:-deeppsma-invoke} recipe=${RECIPE:-second_opinion}
[ -d test/output/first ] || { echo "test_invoke.sh: run ./test.sh first" >&2; exit 1; }
user=$(id -u):$(id -g)
if [ "$(id -u)" = 0 ]; then user=12345:54321; fi
out=test/output/invoke
rm -rf "$out"
mkdir -p "$out"
chmod 777 "$out"
status=0
docker run --rm --network none --read-only --user "$user" "$image" doctor 2>"$out.stderr" || status=$?
[ "$status" = 5 ] && grep -q "^deeppsma: error: arguments 'doctor': .* --entrypoint deeppsma" "$out.stderr" \
  || { echo "test_invoke.sh: another command must be refused, not $status" >&2; cat "$out.stderr" >&2; exit 1; }
docker run --rm --network none --read-only --tmpfs /tmp --user "$user" --entrypoint deeppsma "$image" doctor
gpu=()
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then gpu=(--gpus all); fi
container=$(docker run --detach "${gpu[@]}" --network none --read-only --cap-drop ALL --security-opt no-new-privileges \
  --memory 15g --memory-swap 15g --shm-size 64m --pids-limit 512 --tmpfs /tmp --user "$user" \
  --env "DEEPPSMA_RECIPE=$recipe" --volume "$PWD/test/input:/input:ro" --volume "$PWD/$out:/output" "$image")
trap '[ $? = 0 ] || docker logs "$container" 2>&1 | tail -n 20 >&2; docker rm --force "$container" >/dev/null' EXIT

# Asked from inside, as the platform's own program does.
ask() {
  docker exec "$container" python -c '
import sys, urllib.error, urllib.request
request = urllib.request.Request(f"http://127.0.0.1:4743{sys.argv[2]}", method=sys.argv[1])
try:
    with urllib.request.urlopen(request, timeout=300) as answer:
        print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print("none", error)
' "$1" "$2"
}

began=$(date +%s)
for _ in $(seq 30); do
  health=$(ask GET /health)
  [ "$health" = 200 ] && break
  sleep 1
done
[ "$health" = 200 ] || { echo "test_invoke.sh: not ready: $health" >&2; exit 1; }
echo "test_invoke.sh: ready after $(($(date +%s) - began)) s"
for case in first second; do
  rm -rf "${out:?}"/*
  began=$(date +%s)
  answer=$(ask POST /invoke)
  [ "$answer" = 201 ] || { echo "test_invoke.sh: the $case case was answered with $answer" >&2; exit 1; }
  echo "test_invoke.sh: $case case took $(($(date +%s) - began)) s"
  diff --recursive "test/output/first/images" "$out/images"
done
echo "test_invoke.sh: passed: both cases have the masks of a process a case"
