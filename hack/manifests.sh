#!/usr/bin/env bash
# Writes everything that is generated from the API's models: crds/, the chart's copy of them, docs/reference/.
# With --check it writes nothing and fails when a committed file differs from what the models say.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" hack/generated.py "$@"
