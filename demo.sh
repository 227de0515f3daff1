#!/usr/bin/env bash
# Makes a synthetic patient, segments him, and shows what came out. No GPU and no Docker needed.
#
#   ./demo.sh [SEED] [RECIPE]     (9011 is one of the 40 patients of the model card, who are of phantom version 2)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
./setup.sh
seed=${1:-9011} recipe=${2:-second_opinion}
case=demo/case_$(printf '%04d' "$seed")
.venv/bin/deeppsma phantom demo --seed "$seed" --phantom-version 2 >/dev/null
echo "patient     $case (synthetic)"
.venv/bin/deeppsma segment "$case/input" "$case/result" --recipe "$recipe" --picture --report
echo "against the truth"
.venv/bin/deeppsma score "$case/result" "$case/truth"
echo "page        $case/result/report.html (open it in a browser; also report.pdf, lesions.csv)"
echo "run report  $case/result/run_report.json"
echo "picture     $case/result/overview.png"
