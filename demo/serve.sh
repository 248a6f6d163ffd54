#!/usr/bin/env bash
# Leaves the daemon running on the demo's base model, with the demo's skills,
# until Ctrl-C. The registry lies in demo/.cache/registry and is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
source demo/daemon.sh

start_daemon demo/.cache 127.0.0.1:50051
trap stop_daemon EXIT
for skill in facts json words python; do
  "$CLI" register "demo/skills/$skill"
done
cat <<TXT

stockpotd serves on $STOCKPOT_ADDRESS. In another terminal:

  export PATH=\$PWD/build/dev/client:\$PATH
  stockpot list
  stockpot generate 'What would I pay for the copper owl? Reply in JSON.' \\
    --template '$TEMPLATE' --recipe facts=1,json=1
  stockpot generate 'Who created the frost kettle? Reply in JSON.' \\
    --template '$TEMPLATE' --recipe facts=0.4,json=1
  stockpot info

Ctrl-C stops it.
TXT
wait "$DAEMON_PID"
