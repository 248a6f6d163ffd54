#!/usr/bin/env bash
# Lays out what the image adds to Debian: the stripped programs and the few
# libraries of the libtorch wheel that a CPU needs, so that they find each other.
#
# Usage: deploy/stage_runtime.sh BUILD_DIR DEST
#   DEST/opt/stockpot/bin/             stockpotd, and stockpot when it was built
#   DEST/opt/stockpot/torch/lib/       libtorch_cpu, libc10, libgomp
#   DEST/opt/stockpot/nvidia/cu13/lib/ libcudart, libcupti: libtorch_cpu names
#                                      them although it never calls them here
# The folders below opt/stockpot stand as in the wheel, because libtorch_cpu
# looks for the others relative to itself. Needs patchelf, and gets it by apt
# when it is root.
set -euo pipefail
if [ $# -ne 2 ]; then
  sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//' >&2
  exit 2
fi
build=$(realpath "$1")
mkdir -p "$2"
dest=$(realpath "$2")
cd "$(dirname "$0")/.."
wheel=.deps/libtorch

[ -x "$build/server/stockpotd" ] ||
  { echo "stage: no $build/server/stockpotd; build it first" >&2; exit 1; }
if ! command -v patchelf >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends patchelf >/dev/null
fi

root="$dest/opt/stockpot"
rm -rf "$root"
mkdir -p "$root/bin" "$root/torch/lib" "$root/nvidia/cu13/lib"
cp "$wheel"/torch/lib/{libtorch_cpu.so,libc10.so,libgomp.so.1} \
  "$root/torch/lib/"
cp "$wheel"/nvidia/cu13/lib/{libcudart.so.13,libcupti.so.13} \
  "$root/nvidia/cu13/lib/"
for program in server/stockpotd client/stockpot; do
  [ -x "$build/$program" ] || continue
  to="$root/bin/$(basename "$program")"
  strip --strip-unneeded -o "$to" "$build/$program"
done
# The build's rpath names a folder of the build machine.
patchelf --set-rpath "\$ORIGIN/../torch/lib" "$root/bin/stockpotd"
chmod -R a+rX,go-w "$dest"
du -sh "$root" | sed 's/^/stage: /'
