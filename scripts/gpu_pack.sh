#!/usr/bin/env bash
# Packs what a machine with a GPU needs to test and time the CUDA backend, where nothing can be built or installed: the GPU test
# program, yopo-bench, the libraries they need that such a machine may lack, configs and the scripts. There:
# `scripts/gpu_check.sh check` and `bench`, with nothing but a driver, a CUDA toolkit or torch (for cuBLASLt), and Python.
#   gpu_pack.sh [--output FOLDER] [--data] [--jobs N]
# --data: the test data, too, for a machine without this tree (60 MB; otherwise tests/data or $YOPO_TEST_DATA is read there).
# Variables: CUDACXX as ever; YOPO_PACK_ARCHITECTURES for other GPUs than compute capability 8.0 and 9.0.
set -euo pipefail
cd "$(dirname "$0")/.."
output=out/gpu-pack data=0 jobs=$(nproc)
while (($#)); do
  case $1 in
    --output) output=${2:?} && shift 2 ;;
    --data) data=1 && shift ;;
    --jobs) jobs=${2:?} && shift 2 ;;
    *) echo "gpu_pack: unknown argument '$1' (--output FOLDER, --data, --jobs N)" >&2 && exit 2 ;;
  esac
done
command -v "${CUDACXX:-nvcc}" > /dev/null || { echo "gpu_pack: there is no nvcc on the PATH or in CUDACXX" >&2; exit 2; }

# A folder of its own: other architectures. The C++ library stays the other machine's: one inside beside oneDNN's own is two of them,
# and std::call_once crashes between the two.
build=build/gpu-pack
flags="-Wl,--as-needed -Wl,--disable-new-dtags"
mkdir -p "$build"
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_UNITY_BUILD=ON -DYOPO_CUDA=ON -DYOPO_TESTS=ON \
  -DYOPO_BENCHMARKS=ON -DYOPO_GPU_PACK=ON "-DYOPO_CUDA_ARCHITECTURES=${YOPO_PACK_ARCHITECTURES:-80-real;90a-real}" \
  "-DCMAKE_EXE_LINKER_FLAGS=$flags" -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN/../lib' \
  > "$build/configure.log" 2>&1 || { cat "$build/configure.log" >&2; exit 1; }
cmake --build "$build" -j "$jobs" --target test_runtime_cuda_gpu yopo_bench

rm -rf "$output.new"
mkdir -p "$output.new/bin" "$output.new/lib" "$output.new/scripts" "$output.new/configs/models"
cp "$build/tests/runtime/test_runtime_cuda_gpu" "$output.new/bin/test_gpu"
cp "$build/benchmarks/yopo-bench" "$output.new/bin/"
# What every Linux of that age has, and what the GPU's machine brings itself, stays out.
for program in "$output.new"/bin/*; do
  LD_LIBRARY_PATH= ldd "$program"
done | awk '$3 ~ /^\// {print $1, $3}' | sort -u |
  sed -E '/^(libc|libm|libdl|librt|libpthread|libstdc\+\+|libgcc_s|libcuda|libcudart|libcublas|libcublasLt)\.so/d' |
  while read -r name path; do cp -L "$path" "$output.new/lib/$name"; done
find "$output.new/bin" "$output.new/lib" -type f -exec strip --strip-unneeded {} +
cp scripts/gpu_check.sh scripts/shape_plan.py "$output.new/scripts/"
cp -r scripts/gpu "$output.new/scripts/gpu"
rm -rf "$output.new/scripts/gpu/__pycache__"
for model in llava-1.5-7b llava-1.5-13b internvl2-8b qwen2-vl-7b; do
  cp "configs/models/$model.json" "$output.new/configs/models/"
done
if ((data)); then
  mkdir -p "$output.new/tests/data"
  cp -r tests/data/fixtures tests/data/compensation "$output.new/tests/data/"
fi
commit=$(git rev-parse --short=12 HEAD 2> /dev/null || echo unknown)
[[ -z $(git status --porcelain --untracked-files=no 2> /dev/null) ]] || commit+=+changes
printf '{"commit": "%s", "nvcc": "%s", "architectures": "%s"}\n' "$commit" \
  "$("${CUDACXX:-nvcc}" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')" "${YOPO_PACK_ARCHITECTURES:-80-real;90a-real}" \
  > "$output.new/pack.json"
rm -rf "$output"
mv "$output.new" "$output"
tar -C "$(dirname "$output")" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cJf "$output.tar.xz" "$(basename "$output")"
du -sh --apparent-size "$output" "$output.tar.xz"
