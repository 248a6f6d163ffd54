#!/usr/bin/env bash
# Builds the image with buildah, on a machine that needs neither a container
# engine nor a registry. Needs root and Debian; installs what it lacks.
#
# Usage: deploy/build_image.sh [--prebuilt BUILD_DIR] [--tag NAME] [-- ARGS...]
#   --prebuilt BUILD_DIR  take the programs from there (build/release, ...)
#                         instead of compiling them inside the image
#   --tag NAME            name of the image; default localhost/stockpot
#   ARGS                  further arguments of `buildah bud`
# Environment:
#   BASE           base image to start from; unset: one made by debootstrap,
#                  kept as localhost/debian:bookworm-slim
#   DEBIAN_MIRROR  where debootstrap and apt inside the image look
#   JOBS           compilers at once
# Ends with a check of the image: user, entry point, folders.
set -euo pipefail
cd "$(dirname "$0")/.."
tag=localhost/stockpot
prebuilt=""
while [ $# -gt 0 ]; do
  case "$1" in
    --prebuilt) prebuilt=$2; shift 2 ;;
    --tag) tag=$2; shift 2 ;;
    --) shift; break ;;
    *) sed -n '2,/^set/p' "$0" | sed '$d; s/^# \{0,1\}//' >&2; exit 2 ;;
  esac
done
# By default the mirror that this machine's apt uses.
mirror=${DEBIAN_MIRROR:-$(apt-cache policy |
  sed -n 's#.* \(https\{0,1\}://[^ ]*\) bookworm/main.*#\1#p' | head -n 1)}

missing=()
for tool in buildah crun debootstrap; do
  command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${missing[@]}" >/dev/null
fi
# vfs and chroot need no mount or cgroup rights, so they work anywhere.
buildah() { command buildah --storage-driver vfs "$@"; }

make_base() {
  local rootfs container
  rootfs=$(mktemp -d)
  debootstrap --variant=minbase bookworm "$rootfs" "$mirror" >/dev/null
  rm -rf "$rootfs"/var/cache/apt/archives/*.deb "$rootfs"/var/lib/apt/lists/* \
    "$rootfs"/usr/share/{doc,man,locale}/*
  cat >"$rootfs/etc/apt/sources.list" <<LIST
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb ${mirror%/debian}/debian-security bookworm-security main
LIST
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$rootfs" / >/dev/null
  buildah config --cmd bash "$container"
  buildah commit --quiet --rm "$container" "$BASE" >/dev/null
  rm -rf "$rootfs"
}

if [ -z "${BASE:-}" ]; then
  BASE=localhost/debian:bookworm-slim
  if ! buildah images --quiet "$BASE" >/dev/null 2>&1; then
    echo "image: making $BASE"
    make_base
  fi
fi
kind=compiled
if [ -n "$prebuilt" ]; then
  kind=prebuilt
  deploy/stage_runtime.sh "$prebuilt" build/image
fi
buildah bud --isolation chroot --pull-never --layers=false \
  --build-arg "BASE=$BASE" --build-arg "BUILD=$kind" \
  --build-arg "JOBS=${JOBS:-2}" --tag "$tag" "$@" .
rm -rf build/image

config=$(buildah inspect --type image --format \
  '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Volumes}}' \
  "$tag")
echo "image: $config"
grep -q '^65532:65532 \[/opt/stockpot/bin/stockpotd\] .*/var/lib/stockpot' \
  <<<"$config" ||
  { echo "image: $tag is not what the Dockerfile says" >&2; exit 1; }
buildah images "$tag"
