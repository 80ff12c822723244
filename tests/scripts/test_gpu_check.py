"""gpu_check.sh and gpu_pack.sh without a GPU: over a pack of stand-in programs and a stand-in for the driver's library, which says
that there is a GPU, or none."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DRIVER = """
int cuInit(unsigned flags) { (void)flags; return CODE; }
int cuDeviceGetCount(int* count) { *count = COUNT; return 0; }
int cuDriverGetVersion(int* version) { *version = 13000; return 0; }
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetName(char* name, int size, int device) { (void)size; (void)device; name[0] = 'G'; name[1] = 0; return 0; }
int cuDeviceTotalMem_v2(unsigned long* bytes, int device) { (void)device; *bytes = 1ul << 36; return 0; }
int cuDeviceGetAttribute(int* value, int which, int device) { (void)device; *value = which == 75 ? 9 : 0; return 0; }
"""
# A test program: what it does is in $BEHAVIOUR of the folder that it lies in. Like GoogleTest it writes its report at the end.
TESTS = """#!/bin/sh
here=$(dirname "$0")
echo "$YOPO_CUDA_CHECK $*" >> "$here/calls"
for argument in "$@"; do case $argument in --gtest_output=json:*) report=${argument#--gtest_output=json:} ;; esac; done
[ "$1" != --gtest_list_tests ] || { printf 'A.\\n  one\\n  two\\n'; exit 0; }
echo "[ RUN      ] A.one"
echo "[       OK ] A.one (3 ms)"
echo "[ RUN      ] A.two"
behaviour=$(cat "$here/behaviour")
case $behaviour in
  hang) sleep 600 & echo $! > "$here/child"; wait ;;
  crash) kill -SEGV $$ ;;
  lie) exit 0 ;;
esac
failures=
[ "$behaviour" != fail ] || failures='"failures": [{"failure": "1 is not 2", "type": ""}],'
cat > "$report" <<END
{"testsuites": [{"name": "A", "testsuite": [
  {"name": "one", "status": "RUN", "result": "COMPLETED", "time": "0.003s"},
  {"name": "two", $failures "status": "RUN", "result": "COMPLETED", "time": "0.5s"}]}]}
END
[ "$behaviour" != fail ] || exit 1
echo "[       OK ] A.two (500 ms)"
"""
BENCH = """#!/bin/sh
[ "$1" = kernels ] && echo '{"kernels": [], "flop_rate": 1e15}' && exit 0
case "$*" in *13b*) echo "yopo-bench: GPU out of memory" >&2; exit 2 ;; *internvl2*) echo "this is no JSON"; exit 0 ;; esac
for argument in "$@"; do [ "$before" != --plan ] || plan=$argument; before=$argument; done
[ -s "$plan" ] || exit 7
echo '{"speedup": 2.5, "dense": {"prefill_ms": 10}}'
"""
SANITIZER = """#!/bin/sh
while [ "${1#--}" != "$1" ] || [ "${1#/}" = "$1" ]; do [ "$1" != --tool ] || tool=$2; shift; done
[ "$tool" != racecheck ] || { echo "========= RACECHECK SUMMARY: 1 hazard displayed"; exit 9; }
shift; echo "[ RUN      ] A.one"; echo "[       OK ] A.one (3 ms)"; echo "========= ERROR SUMMARY: 0 errors"
"""


class GpuCheckTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.pack = self.folder / "pack"
        (self.pack / "bin").mkdir(parents=True)
        shutil.copytree(ROOT / "scripts/gpu", self.pack / "scripts/gpu", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("gpu_check.sh", "shape_plan.py"):
            shutil.copy(ROOT / "scripts" / name, self.pack / "scripts" / name)
        shutil.copytree(ROOT / "configs/models", self.pack / "configs/models")
        (self.pack / "pack.json").write_text('{"commit": "abc"}')
        self.program(self.pack / "bin/test_gpu", TESTS)
        self.program(self.pack / "bin/yopo-bench", BENCH)
        self.behave("pass")
        self.results = self.folder / "results/gpu.json"
        # Before everything that this machine may have: no torch to import, no tools.
        (self.folder / "python/torch").mkdir(parents=True)
        (self.folder / "python/torch/__init__.py").write_text("raise ImportError('this torch is a stand-in')")
        (self.folder / "tools").mkdir()
        self.driver(code=0, count=1)

    def program(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def behave(self, how):
        (self.pack / "bin/behaviour").write_text(how)

    def driver(self, code, count):
        source = self.folder / "driver.c"
        source.write_text(DRIVER.replace("CODE", str(code)).replace("COUNT", str(count)))
        (self.folder / "driver").mkdir(exist_ok=True)
        subprocess.run(["cc", "-shared", "-fPIC", source, "-o", self.folder / "driver/libcuda.so.1"], check=True)

    def check(self, *arguments, pack=True):
        environment = {**os.environ, "PYTHON": sys.executable, "LD_LIBRARY_PATH": str(self.folder / "driver"),
                       "PYTHONPATH": str(self.folder / "python"), "CUDA_HOME": str(self.folder / "toolkit"),
                       "PATH": f"{self.folder / 'tools'}:{os.environ['PATH']}"}
        command = [self.pack / "scripts/gpu_check.sh", *arguments, "--output", self.results, *(["--pack", self.pack] if pack else [])]
        return subprocess.run([str(part) for part in command], env=environment, cwd=self.folder, capture_output=True, text=True, timeout=240)

    def steps(self, section="check"):
        whole = json.loads(self.results.read_text())
        self.assertEqual((whole["format"], whole["version"]), ("yopo-gpu", 1))
        steps = {step["name"]: step for step in whole[section]["steps"]}
        for step in steps.values():
            self.assertEqual(set(step), {"name", "status", "reason", "seconds", "figures"})
            self.assertTrue(step["status"] == "passed" or step["reason"], step)
        return steps

    def statuses(self, section="check"):
        return {name: step["status"] for name, step in self.steps(section).items()}

    def test_without_a_gpu_every_step_says_so(self):
        for code, count, why in ((100, 0, "cuInit gives 100"), (0, 0, "the driver lists none")):
            self.driver(code, count)
            for what in ("check", "bench"):
                run = self.check(what)
                self.assertEqual(run.returncode, 1, run.stderr)
                self.assertEqual(self.check(what, "--allow-no-gpu").returncode, 0)
                steps = self.steps(what)
                self.assertGreater(len(steps), 7)
                for step in steps.values():
                    self.assertEqual(step["status"], "skipped", step)
                    self.assertIn("no GPU", step["reason"])
                    self.assertIn(why, step["reason"])
        self.assertFalse((self.pack / "bin/calls").exists(), "nothing was started")
        self.assertEqual(set(json.loads(self.results.read_text())), {"format", "version", "check", "bench"}, "each keeps the other's")

    def test_no_driver_is_no_gpu(self):
        (self.folder / "driver/libcuda.so.1").write_text("no library")
        self.assertEqual(self.check("check", "--allow-no-gpu").returncode, 0)
        self.assertIn("no NVIDIA driver", self.steps()["tests: kernels"]["reason"])

    def test_all_is_good(self):
        self.program(self.folder / "tools/compute-sanitizer", SANITIZER.replace("!= racecheck", "!= none", 1))
        run = self.check("check")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        steps = self.steps()
        self.assertEqual(set(self.statuses().values()), {"passed"})
        self.assertEqual(steps["the test program starts"]["figures"], {"tests": 2})
        figures = steps["tests: kernels"]["figures"]
        self.assertEqual((figures["tests"], figures["failed"]), (2, []))
        self.assertEqual(figures["slowest"][0], {"test": "A.two", "seconds": 0.5})
        self.assertIn("0 errors", steps["compute-sanitizer: memcheck"]["figures"]["said"][0])
        facts = json.loads(self.results.read_text())["check"]["facts"]
        self.assertEqual(facts["gpus"], [{"name": "G", "memory_bytes": 1 << 36, "capability": "9.0"}])
        self.assertEqual((facts["driver_cuda"], facts["pack"]), ("13.0", {"commit": "abc"}))

    def test_what_the_sanitizer_finds_fails(self):
        self.program(self.folder / "tools/compute-sanitizer", SANITIZER)
        self.assertEqual(self.check("check").returncode, 1)
        step = self.steps()["compute-sanitizer: racecheck"]
        self.assertEqual(step["status"], "failed")
        self.assertIn("1 hazard", step["reason"])
        self.assertEqual(self.statuses()["compute-sanitizer: synccheck"], "passed", "the next one still runs")

    def test_failed_tests_run_again_checked(self):
        self.behave("fail")
        self.assertEqual(self.check("check").returncode, 1)
        step = self.steps()["tests: kernels"]
        self.assertEqual(step["status"], "failed")
        self.assertIn("1 of 2 failed, the first A.two", step["reason"])
        self.assertEqual(step["figures"]["failed"], [{"test": "A.two", "why": "1 is not 2"}])
        self.assertIn("failed tests again, each launch waited for", self.steps())
        again = [line for line in (self.pack / "bin/calls").read_text().splitlines() if line.startswith("1 ")]
        self.assertEqual(len(again), 1)
        self.assertIn("--gtest_filter=A.two", again[0])

    def test_a_crash_names_the_test(self):
        self.behave("crash")
        self.assertEqual(self.check("check", "--only", "tests: kernels").returncode, 1)
        (step,) = self.steps().values()
        self.assertEqual(step["status"], "failed")
        self.assertIn("ended by SIGSEGV: in A.two", step["reason"])
        self.assertEqual((step["figures"]["passed"], step["figures"]["ended_in"]), (1, "A.two"))

    def test_a_step_that_hangs_is_stopped(self):
        self.behave("hang")
        self.assertEqual(self.check("check", "--only", "the test program starts", "--only", "tests: kernels", "--only", "tests: the rest",
                                    "--budget", "4").returncode, 1)
        steps = self.steps()
        self.assertEqual(steps["the test program starts"]["status"], "passed")
        self.assertEqual(steps["tests: kernels"]["status"], "timeout")
        self.assertIn("stopped after", steps["tests: kernels"]["reason"])
        self.assertEqual(steps["tests: kernels"]["figures"]["ended_in"], "A.two")
        self.assertEqual(steps["tests: the rest"]["status"], "skipped")
        self.assertIn("no time left", steps["tests: the rest"]["reason"])
        child = int((self.pack / "bin/child").read_text())
        with self.assertRaises(ProcessLookupError, msg="what it started is gone, too"):
            for _ in range(1000):  # until init has collected it
                os.kill(child, 0)
                if pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    raise ProcessLookupError

    def test_a_program_that_says_nothing_fails(self):
        self.behave("lie")
        self.check("check", "--only", "tests: kernels")
        (step,) = self.steps().values()
        self.assertEqual(step["status"], "failed")
        self.assertIn("not what was expected", step["reason"])

    def test_a_program_that_cannot_start_fails(self):
        (self.pack / "bin/test_gpu").unlink()
        self.assertEqual(self.check("check", "--only", "tests: kernels").returncode, 1)
        self.assertIn("cannot be started", self.steps()["tests: kernels"]["reason"])

    def test_bench(self):
        run = self.check("bench")
        self.assertEqual(run.returncode, 1, "torch's side and some of ours failed")
        steps = self.steps("bench")
        good = steps["yopo: llava-1.5-7b, published, 576 + 64 tokens, batch 1"]
        self.assertEqual((good["status"], good["figures"]["speedup"]), ("passed", 2.5), good["reason"])
        self.assertIn("GPU out of memory", steps["yopo: llava-1.5-13b, published, 576 + 64 tokens, batch 1"]["reason"])
        self.assertIn("not what was expected", steps["yopo: internvl2-8b, published, 1792 + 64 tokens, batch 1"]["reason"])
        self.assertIn("this torch is a stand-in", steps["torch: llava-1.5-7b, 576 + 64 tokens, batch 1"]["reason"])
        self.assertEqual(steps["yopo: kernels of qwen2-vl-7b"]["figures"]["flop_rate"], 1e15)
        self.assertEqual(self.check("bench", "--only", "yopo: kernels of qwen2-vl-7b").returncode, 0)

    def test_a_pack_without_a_config(self):
        (self.pack / "configs/models/llava-1.5-7b.json").unlink()
        name = "yopo: llava-1.5-7b, published, 576 + 64 tokens, batch 1"
        self.assertEqual(self.check("bench", "--only", name).returncode, 1)
        self.assertIn("llava-1.5-7b.json", self.steps("bench")[name]["reason"])

    def test_wrong_arguments(self):
        self.assertEqual(self.check("chekc").returncode, 2)
        self.assertEqual(self.check("check", "--only", "no such step").returncode, 1)
        shutil.rmtree(self.pack / "bin")
        (self.pack / "pack.json").unlink()
        run = self.check("check")
        self.assertEqual(run.returncode, 2)
        self.assertIn("gpu_pack.sh makes one", run.stderr)
        self.assertEqual(self.check("check", pack=False).returncode, 2)

    def test_results_that_cannot_be_written(self):
        (self.folder / "file").write_text("")
        self.results = self.folder / "file/gpu.json"
        run = self.check("check")
        self.assertEqual(run.returncode, 2)
        self.assertIn("file/gpu.json", run.stderr)


class GpuPackTest(unittest.TestCase):
    """In a copy of the scripts, with stand-ins for the compilers."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copytree(ROOT / "scripts", self.folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "configs/models", self.folder / "configs/models")
        for name in ("fixtures", "compensation"):
            (self.folder / "tests/data" / name).mkdir(parents=True)
        self.stand_in("nvcc", 'echo "Cuda compilation tools, release 13.0, V13.0.1"')
        self.stand_in("cmake", textwrap.dedent("""\
            echo "$*" >> log
            [ "$1" = --build ] || exit 0
            mkdir -p build/gpu-pack/tests/runtime build/gpu-pack/benchmarks
            cp /bin/sh build/gpu-pack/tests/runtime/test_runtime_cuda_gpu
            cp /bin/sh build/gpu-pack/benchmarks/yopo-bench"""))

    def stand_in(self, name, body):
        path = self.folder / "programs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + body + "\n")
        path.chmod(0o755)

    def pack(self, *arguments, **more):
        environment = {**os.environ, "PATH": f"{self.folder / 'programs'}:/usr/bin:/bin", **more}
        environment.pop("CUDACXX", None)
        return subprocess.run([self.folder / "scripts/gpu_pack.sh", *arguments], env=environment, capture_output=True, text=True)

    def test_what_goes_in(self):
        run = self.pack("--jobs", "1")
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        pack = self.folder / "out/gpu-pack"
        files = {str(path.relative_to(pack)) for path in pack.rglob("*") if path.is_file()}
        self.assertLessEqual({"bin/test_gpu", "bin/yopo-bench", "pack.json", "scripts/gpu_check.sh", "scripts/shape_plan.py",
                              "scripts/gpu/main.py", "configs/models/qwen2-vl-7b.json"}, files)
        self.assertFalse(any("libc.so" in name or "__pycache__" in name for name in files), files)
        facts = json.loads((pack / "pack.json").read_text())
        self.assertEqual((facts["nvcc"], facts["architectures"]), ("13.0", "80-real;90a-real"))
        log = (self.folder / "log").read_text()
        self.assertIn("--target test_runtime_cuda_gpu yopo_bench", log)
        self.assertIn("-DYOPO_GPU_PACK=ON", log)
        self.assertNotIn("-static-libstdc++", log, "oneDNN has the shared one")
        first = (self.folder / "out/gpu-pack.tar.xz").read_bytes()
        self.assertEqual(self.pack("--jobs", "1").returncode, 0)
        self.assertEqual((self.folder / "out/gpu-pack.tar.xz").read_bytes(), first, "the same twice")
        # It works from within itself, and packed as it is, from the tree.
        def check():
            run = subprocess.run([script, "check", "--allow-no-gpu", "--only", "none"], cwd=self.folder, capture_output=True, text=True,
                                 env={**os.environ, "PYTHON": sys.executable})
            self.assertIn("no step of that name", run.stdout, run.stderr)
            self.assertEqual(run.stderr, "")
        script = pack / "scripts/gpu_check.sh"
        check()
        shutil.rmtree(pack)
        script = self.folder / "scripts/gpu_check.sh"
        check()
        (self.folder / "out/gpu-pack.tar.xz").write_bytes(first[:len(first) // 2])
        run = subprocess.run([script, "check"], cwd=self.folder, capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable})
        self.assertEqual(run.returncode, 2)
        self.assertIn("gpu-pack.tar.xz cannot be unpacked", run.stderr)

    def test_test_data(self):
        self.assertEqual(self.pack("--data", "--output", "elsewhere").returncode, 0)
        self.assertTrue((self.folder / "elsewhere/tests/data/fixtures").is_dir())

    def test_mistakes(self):
        run = self.pack("--ouput", "x")
        self.assertEqual(run.returncode, 2)
        self.assertIn("--ouput", run.stderr)
        (self.folder / "programs/nvcc").unlink()
        run = self.pack(PATH=f"{self.folder / 'programs'}:/usr/bin:/bin")
        self.assertEqual(run.returncode, 2)
        self.assertIn("no nvcc", run.stderr)
        self.stand_in("nvcc", "true")
        self.stand_in("cmake", "echo 'no CUDA here' >&2; exit 1")
        run = self.pack()
        self.assertEqual(run.returncode, 1)
        self.assertIn("no CUDA here", run.stderr)


if __name__ == "__main__":
    unittest.main()
