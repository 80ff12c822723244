# Everything here is a thin name for a script or a CMake preset; see CONTRIBUTING.md.
.PHONY: all demo build test bench format tidy asan fuzz clean
all: build

# Fetches what is missing, configures and compiles build/release.
build:
	@scripts/build.sh release

# One recipe from samples to scores, twice; each run ends with its table of dense against pruned.
demo: build
	build/release/yopo run configs/demo.yaml
	build/release/yopo run configs/demo_tower.yaml

# Two tests at a time share the cores: their threads should sleep, not spin, while they wait.
# Without a GPU those labelled gpu are left out (they run over the host shim as runtime_cuda_shim all the same).
test: build
	OMP_WAIT_POLICY=passive ctest --test-dir build/release --output-on-failure --no-tests=error -j2 \
	  $(if $(wildcard /dev/nvidia0),,-LE gpu)

# LLaVA-1.5-7B's layer sizes with random weights (LAYERS of its 32), then the operators one by one.
LAYERS ?= 2
DTYPE ?= bf16
bench:
	@scripts/build.sh release -DYOPO_BENCHMARKS=ON
	@scripts/bench.sh $(LAYERS) $(DTYPE)

asan:
	@scripts/build.sh asan
	@scripts/test_asan.sh

# FUZZ_SECONDS for each target; needs clang.
FUZZ_SECONDS ?= 60
fuzz:
	@scripts/fuzz.sh $(FUZZ_SECONDS)

format:
	@git ls-files '*.h' '*.cpp' '*.cu' | xargs clang-format -i

tidy: build
	@git ls-files '*.cpp' | grep -v -e ^tests/ -e ^benchmarks/ | xargs clang-tidy -p build/release --quiet

# Leaves .venv: what was downloaded is kept.
clean:
	rm -rf build out
