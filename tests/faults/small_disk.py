"""Runs every command with its output folder on a disk (a tmpfs) with little room left.

Whatever does not fit, the command ends with exit code 0 and the bytes of an undisturbed run, or with 2 and one message; under a final
name stands what an undisturbed run writes, or what was there before, or nothing, and no temporary is left; and with more room the same
command ends with the same bytes.

    tests/faults/small_disk.py --free 0,64,1024      KiB; as root, or where a user may mount within namespaces of their own
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from faults import JOURNALS, YOPO, Harness, check_all, contents

LARGE = 256 << 20
PAGE = 4096


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


class SmallDisk(Harness):
    def __init__(self, library, folder):
        super().__init__(library, folder)
        self.output = folder / "out"
        self.output.mkdir()
        mount("-t", "tmpfs", "-o", f"size={LARGE}", "tmpfs", self.output)

    def size(self, size):
        mount("-o", f"remount,size={size}", self.output)

    def fresh(self, name):
        self.size(LARGE)
        self.prepare(name, self.output)
        return self.output

    def check(self, name, free):
        """`free`: KiB beyond what the folder holds before the command."""
        expected, printed = self.expectation(name)
        output = self.fresh(name)
        given = contents(output)
        room = os.statvfs(output)
        self.size((room.f_blocks - room.f_bfree) * room.f_bsize + max(free << 10, PAGE))  # a size of 0 would be no limit
        if free == 0:  # the last page
            (output / "filler").write_bytes(bytes(PAGE))
        arguments = self.commands.all(output)[name]
        result = self.run(arguments)
        (output / "filler").unlink(missing_ok=True)
        left, problems = contents(output), []
        if result.returncode == 0:
            if left != expected or result.stdout != printed and name not in ("eval", "run", "compare"):  # these print times
                problems.append("exit code 0, other content or output")
        elif result.returncode != 2:
            problems.append(f"exit code {result.returncode}")
        elif not (result.stderr.startswith("yopo: ") and result.stderr.count("\n") == 1):
            problems.append("not one message")
        for key, value in left.items():
            if ".tmp-" in key or ".partial-" in key:
                problems.append(f"left behind: {key}")
            elif not key.endswith(JOURNALS) and value not in (expected.get(key), given.get(key)):
                problems.append(f"half-written: {key}")
        self.size(LARGE)
        if name == "random" and result.returncode == 0:  # writes into an empty folder alone
            shutil.rmtree(output / "random")
        again = self.run(arguments)
        if again.returncode != 0 or contents(output) != expected:
            problems.append(f"run again: exit code {again.returncode}, {again.stderr.strip()}, "
                            f"{sorted(set(contents(output).items()) ^ set(expected.items()))}")
        if self.says:
            print(f"{name}, {free} KiB: {result.returncode} {result.stderr.strip()}", flush=True)
        return result.returncode, [f"{name}, {free} KiB: {problem}\n    {result.stderr.strip()}" for problem in problems]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--free", default="0,4,16,64,256,1024,1600,2048", help="KiB of room, with commas between")
    parser.add_argument("--only", help="these commands, with commas between")
    parser.add_argument("--verbose", action="store_true", help="shows every message")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)  # of a namespace of its own, where mounts end with it
    options = parser.parse_args()
    if not options.inside:
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        return subprocess.run(["unshare", "--mount", *user, sys.executable, *sys.argv, "--inside"]).returncode
    SmallDisk.says = options.verbose
    root = pathlib.Path(tempfile.mkdtemp(prefix="yopo-disk-"))
    try:
        (root / "names").mkdir()
        names = options.only.split(",") if options.only else list(Harness(None, root / "names").commands.all(root))
        sizes = [(name, int(size)) for name in names for size in options.free.split(",")]
        failures = check_all(sizes, 1, root, None, SmallDisk)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
