#!/usr/bin/env bash
# Fetches what a stage needs and what is not there yet: Debian packages, LibTorch, Python packages.
#
#   setup.sh demo      what the command `yopo` is built from (the default)
#   setup.sh test      and what the tests need: GoogleTest, clang-format, transformers
#   setup.sh bench     what the command and the operator benchmarks are built from
#   setup.sh fuzz      what the command is built from, and clang with its sanitizers and fuzzer
#   setup.sh nightly   `test`, `bench` and `fuzz`, and clang-tidy
#   setup.sh check     says which system packages `pip install ./python` lacks, and fetches nothing
#
# Exit codes: 0 everything is there; 1 something failed; 3 system packages are missing and cannot be installed from
# here: the line for an administrator is printed before anything is downloaded. Safe to run again and at the same time
# as another run.
set -euo pipefail
cd "$(dirname "$0")/.."

torch_version=2.11.0
cuda_packages=("nvidia-cuda-runtime==13.0.*" "nvidia-cuda-cupti==13.0.*")
# A package, and the program or header that shows that it is there where dpkg does not know it (another system, a
# prefix of the user's own).
demo_packages=(
  # ccache is not needed, but one that came later would change every command line, and so compile everything again.
  cmake:cmake ninja-build:ninja ccache:ccache python3-venv:ensurepip
)
# What pip does not bring by itself.
build_packages=(
  g++:c++
  libfmt-dev:fmt/format.h nlohmann-json3-dev:nlohmann/json.hpp libyaml-cpp-dev:yaml-cpp/yaml.h libcli11-dev:CLI/CLI.hpp
  libpng-dev:png.h libjpeg-dev:jpeglib.h libhdf5-dev:hdf5.h libeigen3-dev:eigen3/Eigen/Core libdnnl-dev:dnnl.hpp
  libsentencepiece-dev:sentencepiece_processor.h libpcre2-dev:pcre2.h libxxhash-dev:xxhash.h
  libxlsxwriter-dev:xlsxwriter.h python3-dev:Python.h
  ocl-icd-opencl-dev:CL/cl.h  # libdnnl-dev's CMake file asks for it, its package only recommends it
)
test_packages=(git:git libgtest-dev:gtest/gtest.h clang-format-14:clang-format-14)
bench_packages=(libbenchmark-dev:benchmark/benchmark.h)
fuzz_packages=(clang-14:clang++-14 libclang-rt-14-dev:libclang_rt)
nightly_packages=(clang-tidy-14:clang-tidy-14)

say() { echo "setup: $*"; }
die() { say "$*" >&2; exit 1; }

# The packages of the stage, one "package:sign" a line.
packages_of() {
  printf '%s\n' "${build_packages[@]}"
  [[ $1 == check ]] || printf '%s\n' "${demo_packages[@]}"
  case $1 in
    test) printf '%s\n' "${test_packages[@]}" ;;
    bench) printf '%s\n' "${bench_packages[@]}" ;;
    fuzz) printf '%s\n' "${fuzz_packages[@]}" ;;
    nightly) printf '%s\n' "${test_packages[@]}" "${bench_packages[@]}" "${fuzz_packages[@]}" "${nightly_packages[@]}" ;;
  esac
}

# Whether the program or header is there without a package of Debian's.
is_there() {
  local prefixes prefix includes=()
  case $1 in
    ensurepip) python3 -c 'import venv, ensurepip' 2> /dev/null ;;
    Python.h) python3 -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ;;
    libclang_rt) compgen -G '/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a' > /dev/null ;;
    *.h | *.hpp)
      IFS=':;' read -ra prefixes <<< "${CMAKE_PREFIX_PATH:-}"
      for prefix in "${prefixes[@]}"; do includes+=(-I "${prefix:-.}/include"); done
      # jpeglib.h wants stdio.h before it.
      printf '#include <stdio.h>\n#include <%s>\n' "$1" | c++ -E -x c++ "${includes[@]}" - > /dev/null 2>&1
      ;;
    *) command -v "$1" > /dev/null ;;
  esac
}

# Fills `missing`.
find_missing_packages() {
  local entry package installed wanted=()
  missing=()
  mapfile -t wanted < <(packages_of "$1")
  # One question for all of them; dpkg-query fails when it does not know one, which is an answer, too.
  installed=
  if command -v dpkg-query > /dev/null; then
    installed=$(dpkg-query -W -f='${db:Status-Abbrev}|${Package}\n' "${wanted[@]%%:*}" 2> /dev/null) || true
  fi
  for entry in "${wanted[@]}"; do
    package=${entry%%:*}
    [[ $'\n'$installed$'\n' == *$'\n'ii\ "|$package"$'\n'* ]] || is_there "${entry#*:}" || missing+=("$package")
  done
}

install_system_packages() {
  local missing
  find_missing_packages "$1"
  ((${#missing[@]})) || return 0
  local ask="apt-get install -y --no-install-recommends ${missing[*]}"
  local as_root=() reason=
  if ! command -v apt-get > /dev/null; then
    reason="there is no apt-get here; install what these Debian packages hold"
  elif [[ $(id -u) != 0 ]]; then
    # sudo that would ask for a password needs somebody to type it.
    if command -v sudo > /dev/null && { [[ -t 0 ]] || sudo -n true 2> /dev/null; }; then
      as_root=(sudo)
    else
      reason="installing them needs root; hand this line to an administrator, then run the same command again"
    fi
  fi
  if [[ -n $reason ]]; then
    say "system packages are missing and nothing was downloaded yet: $reason:" >&2
    echo "  $ask" >&2
    exit 3
  fi
  say "installing Debian packages: ${missing[*]}"
  # A stale package list is the usual reason for a failed install, so refresh it only then.
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}")
  "${as_root[@]}" "${install[@]}" > build/.setup/apt.log 2>&1 ||
    { "${as_root[@]}" apt-get update -qq >> build/.setup/apt.log 2>&1 &&
      "${as_root[@]}" "${install[@]}" >> build/.setup/apt.log 2>&1; } ||
    { tail -20 build/.setup/apt.log >&2; die "apt-get failed; the whole log is build/.setup/apt.log"; }
}

check_versions() {
  local have
  have=$(cmake --version) || die "CMake 3.25 or newer is needed"
  have=${have%%$'\n'*} && have=${have##* }
  [[ $(printf '%s\n3.25\n' "$have" | sort -V) == 3.25* ]] || die "CMake 3.25 or newer is needed, this is $have"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "Python 3.10 or newer is needed"
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

make_venv() {
  [[ -x .venv/bin/python ]] && .venv/bin/python -c 'import pip' 2> /dev/null && return
  say "making the Python environment .venv"
  python3 -m venv .venv
}

# The path of a library of torch's wheel, or nothing.
torch_library() { compgen -G ".venv/lib/python3*/site-packages/torch/lib/$1" || true; }

# The libraries that the loader does not find for $1, one a line. The whole of ldd's output is read before it is
# searched: a reader that stops at the first hit would end ldd by SIGPIPE, which pipefail counts as a failure.
not_found() {
  local output line
  output=$(ldd "$1")
  while IFS= read -r line; do
    [[ $line != *"not found"* ]] || echo "$line"
  done <<< "$output"
}

install_torch() {
  local stamp=.venv/.torch-$torch_version
  [[ -e $stamp && -n $(torch_library libtorch_cpu.so) ]] && return
  # pip writes RECORD last.
  if ! compgen -G ".venv/lib/python3*/site-packages/torch-$torch_version*.dist-info/RECORD" > /dev/null; then
    say "fetching torch $torch_version into .venv (about 0.5 GB, once)"
    pip install -q --no-deps "torch==$torch_version"
  fi
  local library missing
  library=$(torch_library libtorch_cpu.so)
  # The loader says which of the CUDA libraries that libtorch_cpu.so is linked against are not on this system.
  missing=$(not_found "$library")
  if [[ $missing == *libcu* ]]; then
    say "fetching the CUDA runtime and CUPTI that libtorch_cpu.so is linked against (13 MB)"
    pip install -q --no-deps "${cuda_packages[@]}"
    missing=$(not_found "$library")
  fi
  [[ -z $missing ]] || die "libtorch_cpu.so lacks libraries: $missing"
  touch "$stamp"
}

# install_list LIST WHAT [FOLDER]: the packages of scripts/LIST.txt, into .venv, or over it into .venv/FOLDER.
install_list() {
  local list=scripts/$1.txt stamp=.venv/.${1//_/-} folder=${3:+.venv/$3}
  ! cmp -s "$list" "$stamp" || return 0
  say "fetching $2"
  [[ -z $folder ]] || rm -rf "$folder"
  pip install -q --no-deps ${folder:+--target "$folder"} -r "$list"
  cp "$list" "$stamp"
  touch .venv/.python-tests  # whose time tells build.sh to look for the tests' modules again
}

# What the tests in tests/python import besides torch, and what torch needs to be imported without its CUDA
# dependencies.
install_python_tests() {
  install_list python_tests "transformers and the packages it needs into .venv (about 60 MB)"
  install_list python_tests_5 "transformers 5 and torchvision into .venv/transformers5 (about 30 MB)" transformers5
  install_list python_tests_lmms "lmms-eval and the packages it imports into .venv/lmms_eval (about 80 MB)" lmms_eval
  local library missing
  library=$(torch_library libtorch_cuda.so)
  [[ -n $library && ! -e .venv/stand_ins/.done ]] || return 0
  missing=$(not_found "$library")
  if [[ -n $missing ]]; then
    say "building stand-ins for the CUDA libraries that Python's torch wants and a CPU test never calls"
    .venv/bin/python scripts/cuda_stand_ins.py "$(dirname "$library")" .venv/stand_ins
  fi
  mkdir -p .venv/stand_ins
  touch .venv/stand_ins/.done
}

main() {
  install_system_packages "$1"
  check_versions
  make_venv
  local elsewhere
  elsewhere=$(libtorch_elsewhere)
  if [[ -n $elsewhere ]]; then
    [[ -e build/.setup/told-torch ]] ||
      say "using LibTorch in $elsewhere; the tests against transformers run only with torch in .venv, too"
    touch build/.setup/told-torch
  else
    install_torch
  fi
  case $1 in test | nightly) install_python_tests ;; esac
}

stage=${1:-demo}
case $stage in
  demo | test | bench | fuzz | nightly) ;;
  check)
    find_missing_packages check
    ((${#missing[@]})) || exit 0
    say "system packages are missing:" >&2
    echo "  apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 3
    ;;
  *) die "there is no stage '$stage': demo, test, bench, fuzz, nightly or check" ;;
esac
mkdir -p build/.setup
if command -v flock > /dev/null; then
  exec 9> build/.setup/lock
  flock -n 9 || { say "another set-up is running here; waiting for it"; flock 9; }
fi
main "$stage"
