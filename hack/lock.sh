#!/usr/bin/env bash
# Lock files hold versions and hashes, never an index address, so that they install through anybody's mirror.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
compile() {
  "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header "$@"
}
compile requirements/uv.in -o requirements/uv.txt
compile requirements/operator.in -o requirements/operator.txt
compile requirements/trainer.in -c requirements/operator.txt -o requirements/trainer.txt
compile requirements/inference.in -c requirements/operator.txt -c requirements/trainer.txt -o requirements/inference.txt
compile requirements/names.in -c requirements/trainer.txt -c requirements/inference.txt -o requirements/names.txt
compile requirements/dev.in -c requirements/operator.txt -c requirements/trainer.txt -c requirements/inference.txt -c requirements/names.txt -o requirements/dev.txt
