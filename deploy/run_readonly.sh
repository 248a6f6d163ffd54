#!/usr/bin/env bash
# Runs the image as Kubernetes' "restricted" would have it (read-only root, uid
# 65532, no capabilities, no new privileges) and checks that it serves, shows
# its metrics, cannot write outside its volume, and drains on SIGTERM.
# Needs root, buildah and Debian's prometheus, but no container engine.
#
# Usage: deploy/run_readonly.sh [MODEL_DIR] [IMAGE]
#   MODEL_DIR  a Hugging Face directory; default: the demo's base
#   IMAGE      default localhost/stockpot
# Environment: GRPC_PORT (50951), METRICS_PORT (9951), DTYPE (bfloat16),
#   VOLUME: folder for /var/lib/stockpot, kept afterwards; unset: a new one,
#   KEEP=1: after the checks, serve until interrupted
set -euo pipefail
cd "$(dirname "$0")/.."
model=$(realpath "${1:-demo/.cache/smollm2-135m-instruct}")
image=${2:-localhost/stockpot}
grpc_port=${GRPC_PORT:-50951}
metrics_port=${METRICS_PORT:-9951}
[ -f "$model/config.json" ] ||
  { echo "run: no model in $model (make demo fetches one)" >&2; exit 1; }
scratch=$(mktemp -d)
volume=${VOLUME:-$scratch/volume}
# Skills fit one base only.
skills=""
skills_outside=""
if [ $# -eq 0 ] && [ -f demo/skills/json/adapter_config.json ]; then
  skills=/mnt
  skills_outside=$(realpath demo/skills)
fi
buildah() { command buildah --storage-driver vfs "$@"; }
container=$(buildah from --pull-never "$image")
daemon=""
finish() {
  if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null || true; wait || true; fi
  buildah umount "$container" >/dev/null || true
  buildah rm "$container" >/dev/null || true
  rm -rf "$scratch"
}
trap finish EXIT
root=$(buildah mount "$container")
mkdir -p "$volume"
chown 65532:65532 "$volume"
chmod 0750 "$volume"

# What a container runtime does: root read-only, /proc, a small /dev, the two
# volumes; then chroot, and drop everything.
# shellcheck disable=SC2016  # Expanded by the inner shell.
inside='
set -eu
root=$1 model=$2 volume=$3 skills=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755,size=64k tmpfs "$root/dev"
for node in null zero random urandom; do
  touch "$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mount -o remount,ro "$root/dev"
mount --bind "$model" "$root/models/base"
mount -o remount,ro,bind "$root/models/base"
if [ -n "$skills" ]; then
  mount --bind "$skills" "$root/mnt"
  mount -o remount,ro,bind "$root/mnt"
fi
mount --bind "$volume" "$root/var/lib/stockpot"
mount -o remount,ro,bind "$root"
exec chroot "$root" env -i PATH=/opt/stockpot/bin:/usr/bin:/bin \
  setpriv --reuid=65532 --regid=65532 --clear-groups --bounding-set=-all \
  --inh-caps=-all --no-new-privs "$@"
'
restricted() { # COMMAND...
  unshare --mount bash -c "$inside" restricted "$root" "$model" "$volume" \
    "$skills_outside" "$@"
}

say() { echo "run: $*"; }
die() { echo "run: FAILED: $*" >&2; tail -5 "$scratch/log" >&2 || true; exit 1; }

client() { # ARGS...: the image's own command line, as restricted.
  restricted stockpot --address "127.0.0.1:$grpc_port" "$@"
}

# Every folder that the user might write to, tried.
writable=$(restricted sh -c '
  for folder in $(find / -xdev -type d -writable 2>/dev/null) \
      / /tmp /dev /etc /models/base /opt/stockpot /var/lib/stockpot; do
    if (: >"$folder/written") 2>/dev/null; then
      rm "$folder/written"
      echo "$folder"
    fi
  done | sort -u')
[ "$writable" = /var/lib/stockpot ] ||
  die "writable should be /var/lib/stockpot alone, is: ${writable:-nothing}"
say "of all folders only /var/lib/stockpot can be written to"

# Not through restricted(): $! must be the daemon, not a shell around it.
unshare --mount bash -c "$inside" restricted "$root" "$model" "$volume" \
  "$skills_outside" /opt/stockpot/bin/stockpotd --model=/models/base \
  --registry=/var/lib/stockpot/registry --dtype="${DTYPE:-bfloat16}" \
  --listen="127.0.0.1:$grpc_port" \
  --metrics_listen="127.0.0.1:$metrics_port" 2>"$scratch/log" &
daemon=$!
start=$SECONDS
until client health >/dev/null 2>&1; do
  kill -0 $daemon 2>/dev/null || die "stockpotd ended while it started"
  [ $((SECONDS - start)) -lt "${START_TIMEOUT:-120}" ] || die "not serving"
  sleep 0.5
done
say "serving after $((SECONDS - start)) s"
client health --service stockpot.v1.GenerationService >/dev/null ||
  die "GenerationService is not serving"

status=$(cat "/proc/$daemon/status")
grep -q '^Uid:	65532	65532	65532	65532' <<<"$status" || die "not uid 65532"
grep -q '^CapEff:	0000000000000000' <<<"$status" || die "has capabilities"
grep -q '^CapBnd:	0000000000000000' <<<"$status" || die "may get capabilities"
grep -q '^NoNewPrivs:	1' <<<"$status" || die "may get privileges"
say "uid 65532, no capabilities: $(grep VmRSS <<<"$status" | tr -s '\t ' ' ')"

client info | sed 's/^/run:   /' || die "stockpot info"

. deploy/work.sh
register_skills | sed 's/^/run:   /' || die "stockpot register"
export root model volume skills_outside skills inside grpc_port
export -f restricted client work
deploy/evaluate.py "127.0.0.1:$metrics_port" bash -c work ||
  die "dashboard and rules"
deploy/check.sh "http://127.0.0.1:$metrics_port/metrics" ||
  die "metrics, dashboard, manifests"
if [ -n "${KEEP:-}" ]; then
  say "serving on 127.0.0.1:$grpc_port; metrics on 127.0.0.1:$metrics_port"
  wait $daemon
fi

kill -TERM $daemon
rc=0
wait $daemon || rc=$?
daemon=""
[ $rc -eq 0 ] || die "SIGTERM ended in status $rc"
grep -q '"drained"' "$scratch/log" || die "did not drain"
say "drained on SIGTERM; the volume holds $(find "$volume" -type f | wc -l) files"
say "OK"
