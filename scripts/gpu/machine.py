"""What this machine has: GPUs as the driver lists them, and where the libraries and tools of CUDA lie."""
import ctypes
import ctypes.util
import glob
import os
import pathlib
import platform
import shutil
import site
import subprocess
import sys


class NoGpu(Exception):
    pass


def gpus():
    """[{name, memory_bytes, capability}] and the driver's CUDA version. NoGpu says why there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise NoGpu(f"this machine has no GPU: no NVIDIA driver ({error})") from None

    def call(function, *arguments):
        code = getattr(driver, function)(*arguments)
        if code != 0:
            raise NoGpu(f"this machine has no GPU: {function} gives {code}")

    call("cuInit", 0)
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    call("cuDeviceGetCount", ctypes.byref(count))
    call("cuDriverGetVersion", ctypes.byref(version))
    if count.value == 0:
        raise NoGpu("this machine has no GPU: the driver lists none")
    found = []
    for index in range(count.value):
        device, name, memory = ctypes.c_int(0), ctypes.create_string_buffer(256), ctypes.c_size_t(0)
        major, minor = ctypes.c_int(0), ctypes.c_int(0)
        call("cuDeviceGet", ctypes.byref(device), index)
        call("cuDeviceGetName", name, 256, device)
        call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
        call("cuDeviceGetAttribute", ctypes.byref(major), 75, device)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
        call("cuDeviceGetAttribute", ctypes.byref(minor), 76, device)
        found.append({"name": name.value.decode(errors="replace"), "memory_bytes": memory.value,
                      "capability": f"{major.value}.{minor.value}"})
    return found, f"{version.value // 1000}.{version.value % 1000 // 10}"


def cuda_folders():
    """The toolkit's folders, best first."""
    found = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    if compiler := shutil.which("nvcc"):
        found.append(str(pathlib.Path(compiler).resolve().parent.parent))
    found += ["/usr/local/cuda", *sorted(glob.glob("/usr/local/cuda-*"), reverse=True)]
    return [pathlib.Path(folder) for folder in dict.fromkeys(found) if folder and os.path.isdir(folder)]


def library_folders():
    """Where cuBLASLt may lie: the toolkit's folders, and the wheels that torch brings."""
    folders = []
    for folder in cuda_folders():
        folders += [folder / "lib64", folder / "lib", folder / "targets/x86_64-linux/lib"]
    for place in [*site.getsitepackages(), site.getusersitepackages(), *sys.path]:
        folders += [pathlib.Path(path) for path in sorted(glob.glob(os.path.join(place, "nvidia", "*", "lib")))]
    return [folder for folder in dict.fromkeys(folders) if (folder / "libcublasLt.so.13").exists()]


def environment(pack, extra=None):
    """For the pack's programs."""
    own = dict(os.environ)
    folders = [str(folder) for folder in library_folders()]
    own["LD_LIBRARY_PATH"] = ":".join(folders + [own["LD_LIBRARY_PATH"]] if own.get("LD_LIBRARY_PATH") else folders)
    own.setdefault("YOPO_TEST_DATA", str(test_data(pack)))
    own.update(extra or {})
    return own


def test_data(pack):
    """Of the pack, else of the tree around it or around this script."""
    here = pathlib.Path(__file__).resolve()
    for root in [pack, *pack.resolve().parents, *here.parents]:
        if (root / "tests/data/fixtures").is_dir():
            return root / "tests/data"
    return pack / "tests/data"


def sanitizer():
    found = shutil.which("compute-sanitizer")
    for folder in cuda_folders():
        for place in ("bin", "compute-sanitizer"):
            found = found or shutil.which("compute-sanitizer", path=str(folder / place))
    return found


def nvidia_smi():
    """What it says of clocks and power, or why it says nothing."""
    query = "name,driver_version,memory.total,power.limit,clocks.max.sm,clocks.max.mem,temperature.gpu,mig.mode.current"
    try:
        said = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, timeout=15)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"reason": str(error)}
    if said.returncode != 0:
        return {"reason": said.stderr.strip() or said.stdout.strip()}
    return [dict(zip(query.split(","), (part.strip() for part in line.split(",")))) for line in said.stdout.splitlines() if line]


def host():
    cpu = "unknown"
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
