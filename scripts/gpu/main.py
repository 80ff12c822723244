"""gpu_check.sh: `check` and `bench` over a pack of gpu_pack.sh, each in less than ten minutes; all results in gpu.json."""
import argparse
import json
import lzma
import pathlib
import sys
import tarfile
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bench
import check
import machine
from steps import Steps

BUDGET = 570.0  # seconds of a whole command: ten minutes with what comes before and after the steps


def find_pack(given, temporary):
    """The pack that this script lies in, or the one that was made in this tree; a packed one is unpacked into `temporary`."""
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    for place in [pathlib.Path(given)] if given else [root, root / "out/gpu-pack", root / "out/gpu-pack.tar.xz"]:
        if (place / "pack.json").is_file():
            return place
        if place.is_file():
            with tarfile.open(place) as packed:
                packed.extractall(temporary, filter="data")
            for found in pathlib.Path(temporary).glob("*/pack.json"):
                return found.parent
    return None


def main():
    parser = argparse.ArgumentParser(prog="gpu_check.sh", description=__doc__, epilog="Exit codes: 0 all that ran is good; 1 a step "
                                     "failed or was stopped, or there is no GPU; 2 wrong arguments, or no pack.")
    parser.add_argument("what", choices=["check", "bench"])
    parser.add_argument("--pack", help="what gpu_pack.sh made, the folder or the .tar.xz (default: around this script, or in out/)")
    parser.add_argument("--output", default="gpu.json", help="results; what another command wrote there stays (default: gpu.json)")
    parser.add_argument("--budget", type=float, default=BUDGET, help=f"seconds for all steps (default: {BUDGET:.0f})")
    parser.add_argument("--only", action="append", default=[], metavar="STEP", help="only the step of this name; may be repeated")
    parser.add_argument("--allow-no-gpu", action="store_true", help="exit with 0 where there is no GPU; every step says so")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="yopo-gpu-pack-") as temporary:
        return run(options, temporary)


def run(options, temporary):
    try:
        pack = find_pack(options.pack, temporary)
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError) as error:
        print(f"gpu_check: {options.pack or 'out/gpu-pack.tar.xz'} cannot be unpacked: {error}", file=sys.stderr)
        return 2
    if pack is None:
        print(f"gpu_check: no pack in {options.pack or 'this folder or out/gpu-pack'}: scripts/gpu_pack.sh makes one", file=sys.stderr)
        return 2
    absent, gpus, driver = None, [], None
    try:
        gpus, driver = machine.gpus()
    except machine.NoGpu as reason:
        absent = str(reason)
    facts = {"pack": json.loads((pack / "pack.json").read_text()), "gpus": gpus, "driver_cuda": driver, "nvidia_smi": machine.nvidia_smi(),
             "host": machine.host(), "cublaslt": [str(folder) for folder in machine.library_folders()], "sanitizer": machine.sanitizer()}
    try:
        steps = Steps(options.output, options.what, facts, options.budget, options.only)
    except OSError as error:
        print(f"gpu_check: {options.output}: {error.strerror or error}", file=sys.stderr)
        return 2
    steps.absent = absent
    (check if options.what == "check" else bench).run(steps, pack, options)
    code = steps.code(options.allow_no_gpu)
    counts = {}
    for step in steps.steps:
        counts[step["status"]] = counts.get(step["status"], 0) + 1
    print(f"{options.what}: {', '.join(f'{count} {status}' for status, count in counts.items()) or 'no step of that name'}; {options.output}")
    return code


if __name__ == "__main__":
    sys.exit(main())
