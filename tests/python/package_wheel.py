"""The Python package as pip installs it: wheels of python/, made without a network."""
import os
import pathlib
import subprocess
import sys

from support import ROOT, YOPO

SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


def pip(*arguments, **environment):
    """The finished process of a pip that asks nobody but this machine."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--isolated", *map(str, arguments)],
        capture_output=True, text=True, errors="replace", timeout=7200 if os.environ.get("YOPO_COMPILE_WHEEL") else 900,
        env={**os.environ, "PIP_CONFIG_FILE": os.devnull, **environment})


def make_wheel(output, source=ROOT / "python", **environment):
    """pip wheel of the package; without YOPO_PURE or YOPO_BUILT it compiles the command."""
    return pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "-C", f"build-dir={pathlib.Path(output) / 'build'}",
               "--wheel-dir", output, source, **environment)


def install_pure(folder):
    """The package without its command, entry points and all, into a folder for PYTHONPATH."""
    done = make_wheel(folder / "wheel", YOPO_PURE="1")
    if done.returncode == 0:
        wheel, = (folder / "wheel").glob("*.whl")
        done = pip("install", "--no-index", "--no-deps", "--target", folder / "site", wheel)
    if done.returncode != 0:
        raise AssertionError(done.stdout + done.stderr)
    return folder / "site"


def clean_environment(folder):
    """The python of a new environment in which pip has installed the package with the command and the module under test. What it
    depends on is this environment's."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    done = make_wheel(folder / "wheel", YOPO_BUILT=str(YOPO.parent))
    if done.returncode == 0:
        wheel, = (folder / "wheel").glob("*.whl")
        done = pip("--python", venv, "install", "--no-index", "--no-deps", wheel)
    if done.returncode != 0:
        raise AssertionError(done.stdout + done.stderr)
    (venv / SITE / "dependencies.pth").write_text(f"{pathlib.Path(sys.prefix) / SITE}\n")
    (venv / "stand_ins").symlink_to(pathlib.Path(sys.prefix) / "stand_ins")  # see torch_cpu.py
    return venv / "bin/python"
