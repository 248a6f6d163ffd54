#!/bin/sh
# Makes the demo's four skills again, one after another on one core.
#
#   PYTHON=path/to/python demo/train_all.sh
#
# PYTHON needs torch, transformers, peft, safetensors, gguf and numpy.
set -eu
cd "$(dirname "$0")"
PYTHON=${PYTHON:-../.deps/reference/bin/python}
"$PYTHON" fetch_base.py
for skill in facts json words python; do
  "$PYTHON" train_skill.py "$skill"
done
"$PYTHON" make_eval_items.py
"$PYTHON" make_golden.py
