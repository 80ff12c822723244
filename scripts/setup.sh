#!/usr/bin/env bash
# Fetches what the build and the tests need and what is not there yet: Debian packages, LibTorch, Python packages.
# Safe to run again and at the same time as another run; prints one line for each thing it does.
set -euo pipefail
cd "$(dirname "$0")/.."

torch_version=2.11.0
cuda_packages=("nvidia-cuda-runtime==13.0.*" "nvidia-cuda-cupti==13.0.*")
debian_packages=(
  ninja-build ccache pkg-config python3-venv
  libfmt-dev libspdlog-dev nlohmann-json3-dev libyaml-cpp-dev libcli11-dev
  libpng-dev libjpeg-dev libhdf5-dev libdnnl-dev libsentencepiece-dev libpcre2-dev libeigen3-dev libxxhash-dev
  libxlsxwriter-dev
  ocl-icd-opencl-dev  # libdnnl-dev's CMake file asks for it, its package only recommends it
  libgtest-dev libbenchmark-dev
)

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

install_debian_packages() {
  local missing=() package
  if ! command -v dpkg-query > /dev/null || ! command -v apt-get > /dev/null; then
    [[ -e build/.setup/told-packages ]] && return
    say "no apt here; needed, by their Debian names: ${debian_packages[*]}"
    touch build/.setup/told-packages
    return
  fi
  for package in "${debian_packages[@]}"; do
    [[ "$(dpkg-query -W -f='${Status}' "$package" 2> /dev/null)" == "install ok installed" ]] || missing+=("$package")
  done
  # A Python that brings its own venv module needs no package for it.
  if [[ " ${missing[*]} " == *" python3-venv "* ]] && python3 -c 'import venv, ensurepip' 2> /dev/null; then
    local kept=()
    for package in "${missing[@]}"; do [[ $package == python3-venv ]] || kept+=("$package"); done
    missing=("${kept[@]}")
  fi
  ((${#missing[@]})) || return 0
  local as_root=()
  if [[ $(id -u) != 0 ]]; then
    command -v sudo > /dev/null || {
      say "missing, and neither root nor sudo to install them: ${missing[*]}"
      return
    }
    as_root=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  # A stale package list is the usual reason for a failed install, so refresh it only then.
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
  "${as_root[@]}" "${install[@]}" > build/.setup/apt.log 2>&1 ||
    { "${as_root[@]}" apt-get update -qq >> build/.setup/apt.log 2>&1 &&
      "${as_root[@]}" "${install[@]}" >> build/.setup/apt.log 2>&1; } ||
    { tail -20 build/.setup/apt.log >&2; die "apt-get failed; the whole log is build/.setup/apt.log"; }
}

# The root of a LibTorch on CMAKE_PREFIX_PATH, or nothing.
libtorch_elsewhere() {
  local prefixes prefix root
  IFS=':;' read -ra prefixes <<< "${CMAKE_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    prefix=${prefix%/}
    prefix=${prefix%/Torch}
    prefix=${prefix%/share/cmake}
    for root in "$prefix" "$prefix/libtorch"; do
      [[ -e $root/include/torch/csrc/api/include/torch/torch.h ]] && echo "$root" && return
    done
  done
  return 0
}

pip() { .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"; }

# Version of an installed package, or nothing.
version_of() { .venv/bin/python -c 'import importlib.metadata as m, sys; print(m.version(sys.argv[1]))' "$1" 2> /dev/null || true; }

make_venv() {
  [[ -x .venv/bin/python ]] && .venv/bin/python -m pip --version > /dev/null 2>&1 && return
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "Python 3.10 or newer is needed"
  say "making the Python environment .venv"
  python3 -m venv .venv
}

install_torch() {
  if [[ "$(version_of torch)" != "$torch_version"* ]]; then
    say "fetching torch $torch_version into .venv (about 0.5 GB, once)"
    pip install -q --no-deps "torch==$torch_version"
  fi
  local library
  library=$(echo .venv/lib/python3*/site-packages/torch/lib/libtorch_cpu.so)
  # The loader says which of the CUDA libraries that libtorch_cpu.so is linked against are not on this system.
  if ldd "$library" | grep -q 'libcu.*not found'; then
    say "fetching the CUDA runtime and CUPTI that libtorch_cpu.so is linked against (13 MB)"
    pip install -q --no-deps "${cuda_packages[@]}"
    ! ldd "$library" | grep 'not found' || die "libtorch_cpu.so still lacks the libraries above"
  fi
}

# What the tests in tests/python import besides torch, and what torch needs to be imported without its CUDA dependencies.
install_python_tests() {
  local list=scripts/python_tests.txt stamp=.venv/.python-tests
  if ! cmp -s "$list" "$stamp"; then
    say "fetching transformers and the packages it needs into .venv (about 60 MB)"
    pip install -q --no-deps -r "$list"
    cp "$list" "$stamp"
  fi
  local library
  library=$(echo .venv/lib/python3*/site-packages/torch/lib/libtorch_cuda.so)
  [[ -e $library && ! -e .venv/stand_ins/.done ]] || return 0
  ldd "$library" | grep -q 'not found' || return 0
  say "building stand-ins for the CUDA libraries that Python's torch wants and a CPU test never calls"
  .venv/bin/python scripts/cuda_stand_ins.py "$(dirname "$library")" .venv/stand_ins
  touch .venv/stand_ins/.done
}

main() {
  install_debian_packages
  command -v cmake > /dev/null || die "CMake 3.25 or newer is needed"
  command -v ninja > /dev/null || die "ninja is needed"
  make_venv
  local elsewhere
  elsewhere=$(libtorch_elsewhere)
  if [[ -n $elsewhere ]]; then
    [[ -e build/.setup/told-torch ]] || say "using LibTorch in $elsewhere; the tests against transformers run only with torch in .venv, too"
    touch build/.setup/told-torch
  else
    install_torch
  fi
  install_python_tests
}

mkdir -p build/.setup
if command -v flock > /dev/null; then
  exec 9> build/.setup/lock
  flock -n 9 || { say "another set-up is running here; waiting for it"; flock 9; }
fi
main
