#!/usr/bin/env bash
# Every metric that the dashboard, the rules and docs/metrics.md name exists, and
# deploy/check.sh would say if one did not. $1 prints a scrape.
set -euo pipefail
scraper=$(realpath "$1")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$scraper" >"$work/scrape"
deploy/check.sh "$work/scrape"

# The same scrape with every family renamed: each is missed by name.
sed 's/\bstockpot_/stockpot_new_/' "$work/scrape" >"$work/renamed"
if python3 deploy/check.py "$work/renamed" >/dev/null 2>"$work/faults"; then
  echo "FAILED: nobody misses anything" >&2
  exit 1
fi
for family in $(sed -n 's/^# TYPE \(stockpot_[a-z0-9_]*\) .*/\1/p' "$work/scrape"); do
  grep -q "docs/metrics.md: names $family, which is not scraped" \
    "$work/faults" || { echo "FAILED: nobody misses $family" >&2; exit 1; }
done
# A panel's metric is missed by name.
sed '/stockpot_queue_seconds_bucket/d' "$work/scrape" >"$work/less"
if python3 deploy/check.py "$work/less" 2>"$work/faults" >/dev/null; then
  exit 1
fi
grep -q 'dashboard, Time in the queue: no metric stockpot_queue_seconds_bucket' \
  "$work/faults"
echo "OK"
