# Everything here is a thin name for a script or a CMake preset; see CONTRIBUTING.md.
.PHONY: all demo build test bench format tidy asan faults small-disk fuzz nightly clean
all: build

# Fetches what is missing, configures and compiles all of build/release, tests included.
build:
	@scripts/build.sh test release

# One recipe from samples to scores, twice; each run ends with its table of dense against pruned. Compiles the command
# alone.
demo:
	@scripts/build.sh demo release yopo_command
	build/release/yopo run configs/demo.yaml
	build/release/yopo run configs/demo_tower.yaml

test: build
	@scripts/test.sh

# LLaVA-1.5-7B's layer sizes with random weights (LAYERS of its 32), then the operators one by one.
LAYERS ?= 2
DTYPE ?= bf16
bench:
	@scripts/build.sh bench release yopo_command bench_ops
	@scripts/bench.sh $(LAYERS) $(DTYPE)

asan:
	@scripts/build.sh test asan
	@scripts/test_asan.sh

# Every system call of every command on the demo, failing in every way, one at a time: an hour. Goes on where it was stopped.
faults: build
	.venv/bin/python tests/faults/faults.py build/release/fault_shim.so --all --done build/release/faults.done

small-disk: build
	.venv/bin/python tests/faults/small_disk.py

# FUZZ_SECONDS for each target; needs clang.
FUZZ_SECONDS ?= 60
fuzz:
	@scripts/fuzz.sh $(FUZZ_SECONDS)

format:
	@scripts/format.py

# FILES narrows it: make tidy FILES='core/*.cpp'
tidy:
	@scripts/tidy.py $(FILES)

# What takes too long for every change, one after the other; out/nightly/ keeps a log of each and the times.
nightly:
	@scripts/nightly.sh $(FUZZ_SECONDS)

# Leaves .venv: what was downloaded is kept.
clean:
	rm -rf build out
