#!/usr/bin/env bash
# `make bench`: Stockpot beside transformers + PEFT on the same work, in turns.
# Prints the tables of docs/benchmarks.md. Takes about ten minutes on an idle
# two-core machine, 6 GB of memory and 3 GB of disk under build/bench.
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh demo reference
cmake --build --preset dev --target stockpot-dram-bandwidth
exec .deps/demo/bin/python bench/compare.py --work "${STOCKPOT_BENCH_DIR:-build/bench}" "$@"
