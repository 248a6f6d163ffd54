#!/usr/bin/env bash
# Runs each fuzz target for FUZZ_SECONDS (default 60), FUZZ_JOBS at a time
# (default 1), from the committed corpus and FUZZ_SEED (default 0: a new one);
# what it learns stays in build/fuzz/corpus, what breaks in build/fuzz/crashes.
# Prints executions and coverage; ends with an error if anything broke.
#   tests/fuzz/run.sh [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${FUZZ_SECONDS:-60}
seed=${FUZZ_SEED:-0}
targets=("$@")
if [ ${#targets[@]} = 0 ]; then
  for folder in tests/fuzz/corpus/*; do targets+=("$(basename "$folder")"); done
fi

one() {
  local name=$1 log=build/fuzz/$1.log
  mkdir -p "build/fuzz/corpus/$name" build/fuzz/crashes
  if build/fuzz/tests/fuzz/fuzz_"$name" -max_total_time="$seconds" \
    -seed="$seed" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -print_final_stats=1 \
    -artifact_prefix="build/fuzz/crashes/$name-" "build/fuzz/corpus/$name" \
    "tests/fuzz/corpus/$name" >"$log" 2>&1; then
    printf '%-15s %10s runs  %s\n' "$name" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
      "$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -1)"
  else
    printf '%-15s BROKEN, see %s\n' "$name" "$log"
    tail -30 "$log"
    return 1
  fi
}
export -f one
export seconds seed
printf '%s\n' "${targets[@]}" |
  xargs -P "${FUZZ_JOBS:-1}" -I{} bash -c 'one {}'
