#!/usr/bin/env bash
# Checks what deploy/ ships: Prometheus files, alert tests, dashboard, manifests;
# and, given a scrape, that every metric they name exists.
#
# Usage: deploy/check.sh [SCRAPE]
#   SCRAPE  a file in the text format, or http://HOST:PORT/metrics
# Without SCRAPE the names are compared with docs/metrics.md only; tests/deploy
# compares that page with what the daemon's code really exports.
set -euo pipefail
cd "$(dirname "$0")/.."
scrape=${1:-}

quiet() { # COMMAND...: shows the output of a command that fails.
  local out
  out=$("$@" 2>&1) || { echo "$out" >&2; echo "failed: $*" >&2; exit 1; }
}
quiet promtool check config deploy/prometheus/prometheus.yml
quiet promtool check rules deploy/prometheus/rules.yml
quiet promtool test rules deploy/prometheus/rules_test.yml
if command -v kubectl >/dev/null; then
  quiet kubectl kustomize deploy/kubernetes
else
  echo "deploy: no kubectl here; the kustomization is parsed, not built"
fi
if [ -z "$scrape" ]; then
  python3 deploy/check.py
  exit
fi
text=$(mktemp)
trap 'rm -f "$text"' EXIT
case "$scrape" in
  http://*) curl -sSf --max-time 10 -o "$text" "$scrape" ;;
  *) cp "$scrape" "$text" ;;
esac
quiet bash -c 'promtool check metrics <"$0"' "$text"
python3 deploy/check.py "$text"
