"""`pip install ./python` in a clean environment: the package and the command, which runs with that environment's LibTorch; and what is
said where something is missing. Compiling is left out (`scripts/nightly.sh` does it): the wheel takes the command under test."""
import email
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest
import zipfile

from package_wheel import SITE, make_wheel, pip
from support import MODEL, ROOT, TEST, YOPO, Case

# What the wheel's command is: that under test, or one that pip compiles.
BUILT = {} if os.environ.get("YOPO_COMPILE_WHEEL") else {"YOPO_BUILT": str(YOPO.parent)}
# Builds with sanitizers have no module.
MODULE = list((YOPO.parent / "python").glob("_native*.so"))
QUESTION = ["generate", "--model", MODEL, "--image", TEST.images / "0000.png", "--prompt", "How many digits are there?"]


class WheelTest(Case):
    def wheel(self, **environment):
        """Path, metadata and names of the files of a wheel."""
        done = make_wheel(self.folder, **environment)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        path, = self.folder.glob("*.whl")
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            metadata, = (email.message_from_bytes(archive.read(name)) for name in names if name.endswith(".dist-info/METADATA"))
        return path, metadata, names

    def tool(self, *arguments):
        done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=600, cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_command_runs_with_the_environments_torch(self):
        path, metadata, names = self.wheel(**BUILT)
        version = self.tool(YOPO, "--version").split()[1]
        self.assertEqual(metadata["Version"], version)
        cache = (YOPO.parent / "CMakeCache.txt").read_text()
        torch = pathlib.Path(re.search(r"^LibTorch_INCLUDE_DIR:PATH=(.+)/include$", cache, re.MULTILINE)[1])
        release = re.search(r"\d+\.\d+\.\d+", (torch / "version.py").read_text())[0]
        # A command runs with the release that it was compiled with and no other.
        self.assertEqual(sorted(metadata.get_all("Requires-Dist")), ["safetensors", f"torch=={release}", "transformers>=4.57.1"])
        self.assertEqual([name for name in names if "/scripts/" in name], [f"yopo-{version}.data/scripts/yopo"])
        self.assertEqual([re.sub(r"\..*", "", name) for name in sorted(names) if "_native" in name], ["yopo/_native"] * (3 if MODULE else 1))  # .so, .json, .pyi

        venv = self.folder / "venv"
        self.tool(sys.executable, "-m", "venv", "--without-pip", venv)
        done = pip("--python", venv, "install", "--no-index", "--no-deps", path)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        command = venv / "bin/yopo"
        self.assertEqual(self.tool(command, "--version").split()[1], version)  # without torch there, the build's own
        (venv / SITE / "torch").symlink_to(torch)
        # The folder may move: what it finds is relative.
        moved = venv.rename(self.folder / "moved")
        found = [line for line in self.tool("ldd", moved / "bin/yopo").splitlines() if "libtorch_cpu.so" in line or "libc10.so" in line]
        self.assertEqual(len(found), 2)
        for line in found:
            library = line.split(" => ")[1].split(" (")[0]
            self.assertEqual(os.path.normpath(library), str(moved / SITE / "torch/lib" / os.path.basename(library)))
        self.assertEqual(self.tool(moved / "bin/yopo", *QUESTION), self.tool(YOPO, *QUESTION))
        self.assertEqual(self.tool(moved / "bin/python3", "-c", "import yopo; print(yopo.__version__)").strip(), version)

    def test_python_alone(self):
        path, metadata, names = self.wheel(YOPO_PURE="1", PATH=os.path.dirname(sys.executable), CC="no-such-compiler", CXX="no-such-compiler")
        self.assertTrue(path.name.endswith("-py3-none-any.whl"), path.name)
        self.assertEqual(sorted(metadata.get_all("Requires-Dist")), ["safetensors", "torch>=2.6", "transformers>=4.57.1"])
        self.assertEqual([name for name in names if "/scripts/" in name], [])
        sources = sorted(str(file.relative_to(ROOT / "python")) for file in (ROOT / "python/yopo").rglob("*") if file.suffix in (".py", ".pyi", ".typed"))
        self.assertEqual(sorted(name for name in names if name.startswith("yopo/")), sources)

    def tree(self):
        """A tree in which CMake finds nothing, and its environment without torch."""
        tree = self.folder / "tree"
        shutil.copytree(ROOT / "python", tree / "python", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "scripts", tree / "scripts")
        (tree / "CMakeLists.txt").write_text('cmake_minimum_required(VERSION 3.25)\nproject(yopo LANGUAGES NONE)\nmessage(FATAL_ERROR "no fmt")\n')
        return tree

    def refused(self, tree, **environment):
        done = make_wheel(self.folder, tree / "python", **environment)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("YOPO_PURE=1 pip install ./python", done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_what_is_missing_is_named(self):
        tree = self.tree()
        for path in (tree / "none", tree / "empty"):
            text = self.refused(tree, YOPO_TORCH_DIR=str(path))
            self.assertIn(f"YOPO_TORCH_DIR: there is no LibTorch in {path}", text)
        text = self.refused(tree, YOPO_BUILT="build/release")
        self.assertIn(f"there is no compiled command in {tree / 'build/release'}", text)
        # CMake fails, and dpkg knows of one package less than is needed, whose header is on no system.
        programs = tree / "programs"
        programs.mkdir()
        (programs / "dpkg-query").write_text('#!/bin/bash\nfor name in "$@"; do [[ $name == -* || $name == libpng-dev ]] || echo "ii |$name"; done\n')
        (programs / "dpkg-query").chmod(0o755)
        setup = tree / "scripts/setup.sh"
        setup.write_text(setup.read_text().replace("png.h", "no_such_png.h"))
        text = self.refused(tree, PATH=f"{programs}:{os.environ['PATH']}")
        self.assertRegex(text, r" apt-get install -y --no-install-recommends libpng-dev\n")
        self.assertIn(f"scripts/setup.sh in {tree} installs them", text)

    def test_no_torch_anywhere(self):
        """In an environment without torch, in a tree whose set-up did not run."""
        venv = self.folder / "venv"
        self.tool(sys.executable, "-m", "venv", "--without-pip", venv)
        modules = self.folder / "modules"
        modules.mkdir()
        for name in ("scikit_build_core", "pathspec", "packaging"):
            (modules / name).symlink_to(pathlib.Path(sys.prefix) / SITE / name)
        tree = self.tree()
        done = subprocess.run([venv / "bin/python", "-c", f"import build_backend; build_backend.prepare_metadata_for_build_wheel({str(self.folder)!r})"],
                              cwd=tree / "python", capture_output=True, text=True, timeout=300,
                              env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{tree / 'python'}:{modules}"})
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"In {tree}, run\n    scripts/setup.sh\n", done.stderr)
        self.assertNotIn("Traceback", done.stderr)


if __name__ == "__main__":
    unittest.main()
