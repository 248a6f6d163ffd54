#!/usr/bin/env bash
# A real Prometheus scrapes the real daemon: every panel of the dashboard and
# every recorded rule gives a number, and the live scrape has every name.
# Usage: live_test.sh STOCKPOTD STOCKPOT; skips (77) without the demo's base.
set -euo pipefail
stockpotd=$(realpath "$1")
stockpot=$(realpath "$2")
cd "$(dirname "$0")/../.."
model=demo/.cache/smollm2-135m-instruct
if [ ! -f "$model/config.json" ]; then
  echo "skipped: no base model in $model; run \`make demo-base\`"
  exit 77
fi
if ! command -v prometheus >/dev/null; then
  echo "skipped: no prometheus; run tools/setup.sh"
  exit 77
fi
scratch=$(mktemp -d)
daemon=""
finish() {
  if [ -n "$daemon" ]; then kill "$daemon" || true; wait || true; fi
  rm -rf "$scratch"
}
trap finish EXIT
# The daemon logs the ports that it got.
"$stockpotd" --model="$model" --registry="$scratch/registry" \
  --listen=127.0.0.1:0 --metrics_listen=127.0.0.1:0 \
  --kv_cache_bytes=134217728 2>"$scratch/log" &
daemon=$!
until grep -q '"serving"' "$scratch/log"; do
  kill -0 $daemon || { cat "$scratch/log"; exit 1; }
  sleep 0.5
done
port() { sed -n "/\"serving\"/s/.*\"$1\":\"\([0-9]*\)\".*/\1/p" "$scratch/log"; }

client() { "$stockpot" --address "127.0.0.1:$(port port)" "$@"; }
skills=demo/skills
. deploy/work.sh
register_skills
export stockpot skills scratch
export -f client port work
metrics="127.0.0.1:$(port metrics_port)"
deploy/evaluate.py "$metrics" bash -c work
deploy/check.sh "http://$metrics/metrics"
