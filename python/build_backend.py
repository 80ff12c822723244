"""What pip calls to build this package: scikit-build-core, told which LibTorch to compile the command `yopo` and the module with.

    pip install ./python                           compiles the command, which goes beside the environment's python, and the module
    YOPO_BUILT=build/release pip install ./python  takes those that `make build` has compiled (`make demo`: the command alone)
    YOPO_PURE=1 pip install ./python               Python alone: no compiler, no command, no module

A command runs with the LibTorch that it was compiled with and with no other release, so a wheel that holds one asks for that
release of torch. It is the first of: YOPO_TORCH_DIR, torch in the environment, CMAKE_PREFIX_PATH, and what
scripts/setup.sh has put into .venv.
"""

from __future__ import annotations

import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
from typing import Any, Callable, Mapping

from scikit_build_core import build as _builder

ROOT = pathlib.Path(__file__).resolve().parents[1]
ANY_TORCH = "torch>=2.6"
DEPENDENCIES = ["transformers>=4.57.1", "safetensors"]
TESTED = "2.11"
Settings = Mapping[str, Any]


def _is_pure() -> bool:
    return os.environ.get("YOPO_PURE", "").lower() not in ("", "0", "false", "off", "no")


def _fail(message: str) -> SystemExit:
    return SystemExit(f"\nyopo: {message}\n\nYOPO_PURE=1 pip install ./python installs the Python package without the command and the compiled module.\n")


def _built() -> pathlib.Path | None:
    """The build folder whose command is taken instead of compiling one."""
    if not os.environ.get("YOPO_BUILT"):
        return None
    folder = ROOT / os.environ["YOPO_BUILT"]
    if not (folder / "yopo").is_file() or not (folder / "CMakeCache.txt").is_file():
        raise _fail(f"YOPO_BUILT: there is no compiled command in {folder}; `make build` in {ROOT} makes build/release/yopo")
    return folder


def libtorch() -> pathlib.Path:
    """The folder with LibTorch's include and lib. SystemExit where there is none, with what to do."""
    built = _built()
    if built is not None:
        found = re.search(r"^LibTorch_INCLUDE_DIR:PATH=(.+)/include$", (built / "CMakeCache.txt").read_text(), re.MULTILINE)
        if found is None:
            raise _fail(f"{built}/CMakeCache.txt does not say which LibTorch it was compiled with")
        return pathlib.Path(found[1])
    given = os.environ.get("YOPO_TORCH_DIR")
    places = [given] if given else [os.path.join(sysconfig.get_path(kind), "torch") for kind in ("platlib", "purelib")]
    if not given:
        for prefix in filter(None, re.split("[:;]", os.environ.get("CMAKE_PREFIX_PATH", ""))):
            prefix = re.sub("/share/cmake(/Torch)?/?$", "", prefix)
            places += [prefix, os.path.join(prefix, "libtorch")]
        places += sorted(glob.glob(f"{ROOT}/.venv/lib/python3*/site-packages/torch"))
    for place in map(pathlib.Path, places):
        if (place / "include/torch/csrc/api/include/torch/torch.h").is_file() and (place / "lib/libtorch_cpu.so").is_file():
            return place.absolute()
    if given:
        raise _fail(f"YOPO_TORCH_DIR: there is no LibTorch in {given}")
    raise _fail(
        f"there is no LibTorch to compile the command with. In {ROOT}, run\n    scripts/setup.sh\n"
        f"which fetches it, or install torch {TESTED} into this environment first."
    )


def torch_release(folder: pathlib.Path) -> str:
    """Of the wheel's or the archive's LibTorch, without the local part that tells its CUDA."""
    for name in ("version.py", "build-version"):
        if (folder / name).is_file():
            found = re.search(r"\d+\.\d+\.\d+", (folder / name).read_text())
            if found:
                return found[0]
    raise _fail(f"{folder} does not say which release of LibTorch it is (version.py or build-version)")


def dynamic_metadata(settings: Mapping[str, Any], project: Mapping[str, Any]) -> dict[str, list[str]]:
    """What scikit-build-core adds to [project]."""
    return {"dependencies": [ANY_TORCH if _is_pure() else f"torch=={torch_release(libtorch())}", *DEPENDENCIES]}


def _settings(given: Settings | None) -> dict[str, Any]:
    """pip's -C settings, and what CMake has to know. What is given wins."""
    if _is_pure():
        return {"wheel.cmake": "false", **(given or {})}
    built = _built()
    if built is not None:
        return {"cmake.source-dir": "built", "build.targets": "all", "cmake.define.YOPO_BUILT": str(built), **(given or {})}
    torch = libtorch()
    beside = os.path.relpath(os.path.join(sysconfig.get_path("platlib"), "torch/lib"), sysconfig.get_path("scripts"))
    return {
        "cmake.define.LibTorch_INCLUDE_DIR": str(torch / "include"),
        "cmake.define.LibTorch_CPU_LIBRARY": str(torch / "lib/libtorch_cpu.so"),
        "cmake.define.LibTorch_C10_LIBRARY": str(torch / "lib/libc10.so"),
        "cmake.define.YOPO_TORCH_RPATH": f"$ORIGIN/{beside}",
        **(given or {}),
    }


def _explain() -> None:
    """After a failed build: what is missing, if that is why."""
    check = subprocess.run([str(ROOT / "scripts/setup.sh"), "check"], capture_output=True, text=True)
    lines = [check.stderr.strip() or "The compiler and all libraries that scripts/setup.sh names are there; see the messages above."]
    if check.returncode == 0 and _built() is None and not torch_release(libtorch()).startswith(TESTED + "."):
        lines.append(f"yopo is tested with LibTorch {TESTED}; this is {torch_release(libtorch())} in {libtorch()}.")
    if check.returncode != 0:
        lines.append(f"scripts/setup.sh in {ROOT} installs them and fetches LibTorch. Then call pip again.")
    print(_fail("the command could not be built. " + "\n".join(lines)), file=sys.stderr)


def _prepare_environment() -> None:
    """A file that includes Torch takes up to 2 GB to compile; and a compiler of the name that CMake finds by itself, not of
    the name that Python was compiled with, lets ccache know what `make build` has compiled."""
    jobs = min(os.cpu_count() or 1, max(1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 31))
    os.environ.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(jobs))
    for name, compiler in (("CC", "cc"), ("CXX", "c++")):
        if shutil.which(compiler):
            os.environ.setdefault(name, compiler)


def _build(builder: Callable[..., str], folder: str, settings: Settings | None, metadata: str | None) -> str:
    made = _settings(settings)
    _prepare_environment()
    try:
        return builder(folder, made, metadata)
    except (Exception, SystemExit):
        if not _is_pure():
            _explain()
        raise


def get_requires_for_build_wheel(config_settings: Settings | None = None) -> list[str]:
    return _builder.get_requires_for_build_wheel(_settings(config_settings))


def get_requires_for_build_editable(config_settings: Settings | None = None) -> list[str]:
    return _builder.get_requires_for_build_editable(_settings(config_settings))


def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Settings | None = None) -> str:
    return _builder.prepare_metadata_for_build_wheel(metadata_directory, _settings(config_settings))


def prepare_metadata_for_build_editable(metadata_directory: str, config_settings: Settings | None = None) -> str:
    return _builder.prepare_metadata_for_build_editable(metadata_directory, _settings(config_settings))


def build_wheel(wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None) -> str:
    return _build(_builder.build_wheel, wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory: str, config_settings: Settings | None = None, metadata_directory: str | None = None) -> str:
    return _build(_builder.build_editable, wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory: str, config_settings: Settings | None = None) -> str:
    raise SystemExit(f"yopo: there is no source distribution: the command's sources lie in {ROOT}, around this folder. `pip wheel ./python` makes a wheel.")
