#!/usr/bin/env bash
# Everything that can be known without running the product. Each check is named, and all run even when one fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export PATH="$PWD/.venv/bin:$PATH"
failed=()
check() {
  local name=$1 log started=$SECONDS
  shift
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    printf 'lint: %-18s ok (%s s)\n' "$name" $((SECONDS - started))
  else
    printf 'lint: %-18s FAILED\n' "$name"
    cat "$log"
    failed+=("$name")
  fi
  rm -f "$log"
}
helm_lint() {
  local helm
  helm=$(python -c 'import sys; from finetune_testbed import binaries; print(binaries.path("helm", progress=lambda line: print(line, file=sys.stderr)))') || return 1
  "$helm" lint --strict charts/finetune-operator
}
scripts() { git ls-files -z --cached --others --exclude-standard '*.sh' .ci/run | xargs -0 shellcheck; }

check "ruff" ruff check .
check "ruff format" ruff format --check --exclude "*.md" .
check "mypy --strict" mypy operator/finetune_operator trainer_image/finetune_trainer inference_image/finetune_inference record/finetune_record cli/finetune_cli testbed/finetune_testbed demo
check "import law" lint-imports
check "manifest drift" hack/manifests.sh --check
check "helm lint" helm_lint
check "shellcheck" scripts
if [ ${#failed[@]} -gt 0 ]; then
  printf 'lint failed: %s\n' "${failed[*]}"
  exit 1
fi
