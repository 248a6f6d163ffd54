# Sourced by run.sh and serve.sh.
CLI=build/dev/client/stockpot
DAEMON=build/dev/server/stockpotd
MODEL=demo/.cache/smollm2-135m-instruct
# The prompt format that the skills were trained on.
# shellcheck disable=SC2034
TEMPLATE='<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n'

# start_daemon WORK_DIR ADDRESS [FLAG...]: runs the daemon, waits until it
# serves, and exports STOCKPOT_ADDRESS.
start_daemon() {
  local work="$1" listen="$2" port=""
  shift 2
  "$DAEMON" --model="$MODEL" --registry="$work/registry" --listen="$listen" \
    --metrics_listen=127.0.0.1:0 "$@" 2>"$work/log" &
  DAEMON_PID=$!
  for _ in $(seq 600); do
    port="$(sed -n 's/.*"message":"serving".*"port":"\([0-9]*\)","metrics.*/\1/p' "$work/log")"
    [ -n "$port" ] && break
    if ! kill -0 "$DAEMON_PID" 2>/dev/null; then
      cat "$work/log" >&2
      return 1
    fi
    sleep 0.1
  done
  [ -n "$port" ] || { echo "the daemon did not start in a minute" >&2; return 1; }
  export STOCKPOT_ADDRESS="127.0.0.1:$port"
}

stop_daemon() {
  kill "$DAEMON_PID" 2>/dev/null || true
  wait "$DAEMON_PID" 2>/dev/null || true
}
