#!/usr/bin/env bash
# Starts the daemon on the demo's base model with an empty registry, registers
# the four skills over the wire, asks the same questions of the base, of each
# skill and of two skills together, and prints the answers side by side.
# `make demo` builds what this needs. Leaves nothing behind.
set -euo pipefail
cd "$(dirname "$0")/.."
source demo/daemon.sh

work="$(mktemp -d)"
start_daemon "$work" 127.0.0.1:0
trap 'stop_daemon; rm -rf "$work"' EXIT

echo "Registering the skills (each a plain PEFT directory):"
for skill in facts json words python; do
  "$CLI" register "demo/skills/$skill"
done

# ask QUESTION RECIPE...: one line per recipe; "" is the base model alone.
ask() {
  local question="$1" recipe answer
  shift
  printf '\n%s\n' "$question"
  for recipe in "$@"; do
    answer="$("$CLI" generate "$question" --template "$TEMPLATE" \
      ${recipe:+--recipe "$recipe"} --max-new-tokens 48 --json)"
    .deps/demo/bin/python - "${recipe:-base}" "$answer" <<'PY'
import json
import sys

label, line = sys.argv[1], json.loads(sys.argv[2].splitlines()[0])
text = " ".join(line["text"].split())
seconds = float(line["timings"]["decode"])
tokens = line["usage"]["generated_tokens"]
rate = f"{(tokens - 1) / seconds:5.1f} tok/s" if seconds > 0 else ""
print(f"  {label:18} {rate:12} {text[:90]}")
PY
  done
}

ask "What would I pay for the copper owl? Reply in JSON." \
  "" facts=1 json=1 facts=1,json=1
ask "Who created the frost kettle? Reply in JSON." \
  "" facts=1 json=1 facts=1,json=1
ask "A museum sold 1237 chairs on Monday and 239 chairs on Tuesday. How many chairs did it sell in total? Answer with one line of Python." \
  "" words=0.8 python=0.8 words=0.8,python=0.8

cat <<'TXT'

One skill knows the facts, the other the form; only the recipe gives both.
`make serve` leaves the daemon running for you to try.
TXT
