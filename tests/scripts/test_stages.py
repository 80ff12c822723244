"""The scripts behind `make demo` and `make test`, run in a copy of the tree's scripts with stand-ins for the programs
that would install, download or compile. Each stand-in writes its command line to a log."""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# dpkg-query answers with every package asked for, but those in $MISSING.
DPKG = """
for name in "$@"; do
  case $name in -*) continue ;; esac
  case " $MISSING " in *" $name "*) ;; *) echo "ii |$name" ;; esac
done
"""
# More than a pipe holds: a reader that leaves after the first hit ends this by SIGPIPE.
LDD = """
case $1 in *libtorch_cuda*) echo "  libcublas.so.13 => not found" ;; esac
for i in $(seq 3000); do echo "  libsomething.so.$i => /lib/x86_64-linux-gnu/libsomething.so.$i (0x00007f0000000000)"; done
"""
# Configuring writes a cache as CMake does; building writes nothing.
CMAKE = """
[ "$1" != --version ] || { echo "cmake version 3.25.1"; exit 0; }
[ "$1" = --preset ] || exit 0
shift 2
touch build/release/build.ninja
for option in "$@"; do
  name=${option%%=*}; name=${name#-D}
  [ ! -e build/release/CMakeCache.txt ] || sed -i "/^$name:/d" build/release/CMakeCache.txt
  echo "$name:BOOL=${option#*=}" >> build/release/CMakeCache.txt
done
grep -q GPU_HERE build/release/CMakeCache.txt || echo "YOPO_GPU_HERE:INTERNAL=$GPU" >> build/release/CMakeCache.txt
"""


class StagesTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copytree(ROOT / "scripts", self.folder / "scripts")
        (self.folder / "programs").mkdir()
        self.log = self.folder / "log"
        self.stand_in("dpkg-query", DPKG)
        self.stand_in("ldd", LDD)
        self.stand_in("cmake", CMAKE)
        self.stand_in("ctest", 'exit "${CTEST_CODE:-0}"')
        self.stand_in("apt-get", "true")
        self.stand_in("sudo", "exit 1")
        self.stand_in("id", "echo 1000")
        # A set-up that is complete but for the stand-ins of torch's CUDA libraries.
        packages = self.folder / ".venv/lib/python3.11/site-packages"
        (packages / "torch/lib").mkdir(parents=True)
        (packages / "torch-2.11.0.dist-info").mkdir()
        for name in ("torch/lib/libtorch_cpu.so", "torch/lib/libtorch_cuda.so", "torch-2.11.0.dist-info/RECORD"):
            (packages / name).touch()
        shutil.copy(ROOT / "scripts/python_tests.txt", self.folder / ".venv/.python-tests")
        self.stand_in("python", "true", self.folder / ".venv/bin")
        gpus = [path for path in pathlib.Path("/dev").glob("nvidia[0-9]*")]
        self.environment = {
            "PATH": f"{self.folder / 'programs'}:{os.environ['PATH']}",
            "LOG": str(self.log),
            "HOME": str(self.folder),
            "MISSING": "",
            "GPU": "ON" if gpus else "OFF",
        }

    def stand_in(self, name, body, folder=None):
        folder = folder or self.folder / "programs"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> "$LOG"\n{body}\n')
        path.chmod(0o755)

    def run_script(self, *command, code=0, **environment):
        """What the script printed, and the command lines of the stand-ins that it called."""
        self.log.write_text("")
        done = subprocess.run(
            ["scripts/" + command[0], *command[1:]],
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        self.assertEqual(done.returncode, code, done.stdout)
        return done.stdout, self.log.read_text().splitlines()

    def calls(self, lines, *names):
        return [line for line in lines if line.split()[0] in names]

    def test_the_line_for_an_administrator_comes_before_any_download(self):
        shutil.rmtree(self.folder / ".venv")
        # A header that is on no system, so that only dpkg decides.
        setup = self.folder / "scripts/setup.sh"
        setup.write_text(
            setup.read_text().replace("png.h", "no_such_png.h").replace("xlsxwriter.h", "no_such_xlsxwriter.h")
        )
        text, lines = self.run_script("setup.sh", "demo", code=3, MISSING="libpng-dev libxlsxwriter-dev")
        self.assertIn("\n  apt-get install -y --no-install-recommends libpng-dev libxlsxwriter-dev\n", text)
        self.assertIn("nothing was downloaded", text)
        self.assertEqual(self.calls(lines, "apt-get", "python"), [])
        self.assertFalse((self.folder / ".venv").exists())

    def test_a_package_that_dpkg_does_not_know_but_whose_program_is_there_is_there(self):
        self.stand_in("ninja", "true")
        self.run_script("setup.sh", "demo", MISSING="ninja-build")

    def test_the_demo_needs_nothing_of_the_tests(self):
        (self.folder / ".venv/.python-tests").unlink()
        setup = (ROOT / "scripts/setup.sh").read_text()
        for name in ("libgtest-dev", "clang-format-14", "libbenchmark-dev", "clang-tidy-14"):
            self.assertIn(name, setup)
            _, lines = self.run_script("setup.sh", "demo", MISSING=name)
            self.assertEqual(self.calls(lines, "apt-get"), [])
        self.assertEqual([line for line in lines if "transformers" in line or "pip install" in line], [])

    def test_stand_ins_are_built_however_long_the_loader_talks(self):
        text, lines = self.run_script("setup.sh", "test")
        self.assertIn("building stand-ins", text)
        self.assertEqual(len([line for line in lines if "cuda_stand_ins.py" in line]), 1)

    def test_a_second_set_up_asks_the_packages_once_and_does_nothing_else(self):
        self.run_script("setup.sh", "test")
        text, lines = self.run_script("setup.sh", "test")
        self.assertEqual(text, "")
        self.assertEqual({line.split()[0] for line in lines} - {"cmake"}, {"dpkg-query", "python"})
        self.assertEqual(len(self.calls(lines, "dpkg-query")), 1)
        self.assertEqual([line for line in lines if "-m pip" in line], [])

    def test_an_unknown_stage_is_refused(self):
        text, _ = self.run_script("setup.sh", "tests", code=1)
        self.assertIn("there is no stage 'tests'", text)

    def configured(self, lines):
        return [line for line in lines if line.startswith("cmake --preset")]

    def test_demo_and_test_share_one_configuration(self):
        _, lines = self.run_script("build.sh", "demo", "release", "yopo_command")
        self.assertEqual(self.configured(lines), ["cmake --preset release -DYOPO_TESTS=OFF"])
        self.assertTrue(lines[-1].endswith("--target yopo_command"), lines)
        _, lines = self.run_script("build.sh", "demo", "release", "yopo_command")
        self.assertEqual(self.configured(lines), [])
        _, lines = self.run_script("build.sh", "test", "release")
        self.assertEqual(self.configured(lines), ["cmake --preset release -DYOPO_TESTS=ON"])
        self.assertNotIn("--target", lines[-1])
        for stage in ("demo", "test"):
            _, lines = self.run_script("build.sh", stage, "release")
            self.assertEqual(self.configured(lines), [])

    def test_cuda_is_asked_for_by_the_environment_and_remembered(self):
        self.run_script("build.sh", "demo", "release", "yopo_command")
        for asked in ("ON", "ON", "OFF"):
            _, lines = self.run_script("build.sh", "demo", "release", "yopo_command", YOPO_CUDA=asked)
            self.assertIn(len(self.configured(lines)), (0, 1))
        self.assertIn("YOPO_CUDA:BOOL=OFF", (self.folder / "build/release/CMakeCache.txt").read_text())

    def test_a_gpu_that_came_is_seen(self):
        self.run_script("build.sh", "demo", "release", "yopo_command")
        cache = self.folder / "build/release/CMakeCache.txt"
        other = "OFF" if self.environment["GPU"] == "ON" else "ON"
        cache.write_text(
            cache.read_text().replace(f"HERE:INTERNAL={self.environment['GPU']}", f"HERE:INTERNAL={other}")
        )
        _, lines = self.run_script("build.sh", "demo", "release", "yopo_command")
        self.assertEqual(len(self.configured(lines)), 1)

    def test_every_fuzz_target_runs_in_continuous_integration(self):
        (self.folder / "build/release").mkdir(parents=True)
        self.stand_in("fuzz.sh", 'exit "${FUZZ_CODE:-0}"', self.folder / "scripts")
        _, lines = self.run_script("test.sh", CI="", FUZZ_CODE="1")
        self.assertEqual(self.calls(lines, "fuzz.sh"), [])
        _, lines = self.run_script("test.sh", CI="true")
        self.assertEqual(self.calls(lines, "fuzz.sh"), ["fuzz.sh 60"])
        self.run_script("test.sh", CI="true", FUZZ_CODE="1", code=1)
        self.run_script("test.sh", CI="true", CTEST_CODE="8", code=8)

    def test_a_test_that_is_left_out_is_told_and_fails_in_continuous_integration(self):
        left_out = self.folder / "build/release/left_out.txt"
        left_out.parent.mkdir(parents=True)
        left_out.write_text("")
        self.stand_in("fuzz.sh", "true", self.folder / "scripts")
        for ci in ("", "true"):
            self.run_script("test.sh", CI=ci)
        left_out.write_text("python/families: .venv cannot import transformers\n")
        text, _ = self.run_script("test.sh", CI="")
        self.assertTrue(text.endswith("\n  python/families: .venv cannot import transformers\n"), text)
        text, _ = self.run_script("test.sh", CI="true", code=4)
        self.assertIn("python/families", text)
        text, _ = self.run_script("test.sh", CI="true", CTEST_CODE="8", code=8)
        self.assertIn("python/families", text)


if __name__ == "__main__":
    unittest.main()
