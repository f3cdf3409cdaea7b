#!/usr/bin/env bash
# What the testbed needs of a host, asked before the Python environment (6 GB) is made and not after: preflight.sh [root] [go]
set -euo pipefail
cd "$(dirname "$0")/.."

refuse() {
  printf 'preflight: %s\n' "$@" >&2
  exit 1
}

need_root() {
  [ "$(id -u)" -eq 0 ] || refuse \
    "the testbed's real node needs root: it makes network namespaces, mounts and control groups." \
    "Run make with sudo. Without root: make demo CLUSTER=kind (needs Docker), or make test PYTEST_FLAGS=\"--allow-missing-tier T3\"."
}

# Modules of which nothing was built yet decide which Go is needed; with a full cache none is.
need_go() {
  local cache=${FINETUNE_TESTBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/finetune-testbed} least="" file module found
  for file in testbed/modules/*/go.mod; do
    module=$(basename "$(dirname "$file")")
    if ! compgen -G "$cache/bin/$module-*/*.go" >/dev/null; then
      least=$(printf '%s\n' "$least" "$(sed -n 's/^go //p' "$file")" | sort -V | tail -n 1)
    fi
  done
  if [ -z "$least" ]; then return 0; fi
  local remedy="Install Go $least or newer (https://go.dev/doc/install) and see that \`go\` is on PATH (under sudo too)."
  command -v go >/dev/null || refuse "Kubernetes is built from its Go modules, and no \`go\` command was found." "$remedy"
  found=$(GOTOOLCHAIN=local go env GOVERSION)
  [ "$(printf '%s\n' "$least" "${found#go}" | sort -V | head -n 1)" = "$least" ] || refuse "the testbed's programs need Go $least and \`go\` is $found." "$remedy"
}

for need in "$@"; do
  "need_$need"
done
