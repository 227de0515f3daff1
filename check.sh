#!/usr/bin/env bash
# Passes the tests: lint, types, which room imports which, the documentation's build, pytest. Arguments go to pytest.
#
#   SLOW       if set: also the tests that take minutes each
#   JOBS       how many tests at a time (default 2)
#   COVERAGE   if set: also which lines no test runs (takes longer)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
./setup.sh dev
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports
./docs.sh
if [ -n "${COVERAGE:-}" ]; then
  set -- --cov --cov-report=term:skip-covered "$@"
fi
jobs=${JOBS:-2}
if [ -n "${SLOW:-}" ]; then
  .venv/bin/python -m pytest --numprocesses "$jobs" -m "slow or not slow" "$@"
else
  .venv/bin/python -m pytest --numprocesses "$jobs" "$@"
  echo "check.sh: left out are the tests marked slow (SLOW=1 ./check.sh runs them, too), and what is named as skipped above"
fi
