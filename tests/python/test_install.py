"""An install tree: programs elsewhere find, build, link and run it, and the runtime alone brings no Torch."""
import os
import pathlib
import shutil
import subprocess
import unittest

from support import CALIB, MODEL, ROOT, TEST, YOPO, Case

BUILD = YOPO.parent
QUESTION = "How many digits are there?"
IMAGE = TEST.images / "0000.png"
HEAVY = ["torch", "c10", "hdf5", "xlsxwriter", "yaml"]
# Of the build under test: a consumer of a sanitized library is sanitized too.
FLAGS = os.environ.get("YOPO_CONSUMER_FLAGS", "")


def libraries(program):
    """The names of the shared libraries that a program loads."""
    result = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    return [line.split()[0].split("/")[-1] for line in result.stdout.splitlines() if line.strip()]


class InstallTest(Case):
    def tool(self, *arguments, **options):
        result = subprocess.run([*map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=900, **options)
        if result.returncode != 0:
            self.fail(f"{' '.join(map(str, arguments))}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout

    def setUp(self):
        super().setUp()
        self.prefix = self.folder / "prefix"
        self.tool("cmake", "--install", BUILD, "--prefix", self.prefix)

    def configure(self, source, *arguments):
        build = self.folder / f"build-{source.name}"
        self.tool("cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_CXX_FLAGS={FLAGS}", *arguments)
        return build

    def test_consumers(self):
        # A copy: what an embedding program gets, with nothing of the repository around it.
        source = self.folder / "embed"
        shutil.copytree(ROOT / "examples" / "embed", source)
        build = self.configure(source)
        self.tool("cmake", "--build", build)

        made = self.folder / "made"
        printed = self.tool(build / "prune", MODEL, CALIB.questions, CALIB.images, IMAGE, QUESTION, made)
        self.assertIn("KV cache", printed)
        self.assertTrue(any("torch" in name for name in libraries(build / "prune")))

        expected = self.yopo("generate", "--model", made / "pruned", "--image", IMAGE, "--prompt", QUESTION).stdout
        self.assertTrue(expected.strip())
        self.assertTrue(printed.endswith(expected), printed)
        self.assertEqual(self.tool(build / "ask", made / "pruned", IMAGE, QUESTION), expected)
        wrong = subprocess.run([build / "ask", self.folder / "absent", IMAGE, QUESTION], capture_output=True, text=True)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("absent", wrong.stderr)

        found = libraries(build / "ask")
        self.assertTrue(any("dnnl" in name for name in found), found)
        self.assertEqual([name for name in found if any(heavy in name for heavy in HEAVY)], [])

    def test_installed_command(self):
        command = self.prefix / "bin" / "yopo"
        version = self.tool(command, "--version").split()
        self.assertEqual(version[0], "yopo")
        self.assertIn(f"project(yopo VERSION {version[1]} ", (ROOT / "CMakeLists.txt").read_text())
        self.assertEqual(self.tool(command, "generate", "--model", MODEL, "--image", IMAGE, "--prompt", QUESTION),
                         self.yopo("generate", "--model", MODEL, "--image", IMAGE, "--prompt", QUESTION).stdout)

    def test_headers_stand_alone(self):
        headers = sorted((self.prefix / "include" / "yopo").iterdir())
        self.assertEqual([header.name for header in headers], ["inspect.h", "runtime.h", "yopo.h"])
        for header in headers:
            source = self.folder / "alone.cpp"
            source.write_text(f"#include <yopo/{header.name}>\nint main() {{}}\n")
            self.tool("c++", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{self.prefix / 'include'}", source)

    def test_what_is_missing_is_named(self):
        source = self.folder / "only-cxx"
        source.mkdir()
        (source / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(only LANGUAGES CXX)\n"
            "find_package(yopo REQUIRED COMPONENTS runtime)\nif(TARGET yopo::yopo)\n  message(FATAL_ERROR unasked)\nendif()\n"
            "find_package(yopo QUIET COMPONENTS toolkit)\nmessage(STATUS \"found ${yopo_FOUND}: ${yopo_NOT_FOUND_MESSAGE}\")\n")
        printed = self.tool("cmake", "-S", source, "-B", self.folder / "build-only", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        self.assertRegex(printed, "found (0|FALSE): .*language C")


if __name__ == "__main__":
    unittest.main()
