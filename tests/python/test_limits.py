"""Commands under limits of the system (open files, address space, stack, size of a file): each ends with the right result or with one
message and exit code 1, 2 or 3, leaves nothing half-written, and the same command without the limit ends with the same bytes."""
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from support import Case, command

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "faults"))
from faults import JOURNALS, Commands, contents  # noqa: E402

MB = 1 << 20
# YOPO_TEST_LIMITS=all: every command, and steps as fine as one MB.
ALL = os.environ.get("YOPO_TEST_LIMITS") == "all"
NAMES = ["calibrate", "merge", "plan", "headmask", "export", "eval", "inspect", "generate"] if ALL else \
        ["calibrate", "plan", "export", "eval", "generate"]
# Before the first instruction of ours: the dynamic loader says what it lacks.
LOADER = 127


def limited(arguments, kind, limit, **options):
    """The command with the limit, and with the signals as a shell leaves them."""
    def prepare():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python has it ignored
        resource.setrlimit(kind, (limit, limit))
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    return subprocess.run(arguments, preexec_fn=prepare, capture_output=True, text=True, errors="replace", timeout=120, env=environment,
                          **options)


class LimitCase(Case):
    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.commands = Commands(cls.shared)
        cls.output = cls.shared / "out"
        cls.expected = {name: cls.finish(name) for name in NAMES}

    @classmethod
    def fresh(cls):
        shutil.rmtree(cls.output, ignore_errors=True)
        cls.output.mkdir()

    @classmethod
    def finish(cls, name, fresh=True):
        """The command without a limit; what it writes and prints."""
        if fresh:
            cls.fresh()
        result = subprocess.run(command(*cls.commands.all(cls.output)[name], "--quiet"), capture_output=True, text=True, timeout=120)
        if result.returncode != 0:
            raise AssertionError(f"{name} without a limit: {result.returncode}, {result.stderr}")
        return contents(cls.output), "" if name == "eval" else result.stdout

    def check(self, name, kind, limit, most_loader=False):
        """Runs the command under the limit and gives its exit code."""
        self.fresh()
        result = limited(command(*self.commands.all(self.output)[name], "--quiet"), kind, limit)
        shown = f"{name}, limit {limit}: exit code {result.returncode}\n{result.stderr}"
        left = contents(self.output)
        expected, printed = self.expected[name]
        if result.returncode == 0:
            self.assertEqual(left, expected, shown)
            if name != "eval":
                self.assertEqual(result.stdout, printed, shown)
            return 0
        if result.returncode == LOADER and most_loader:
            self.assertIn("error while loading shared libraries", result.stderr, shown)
        else:
            self.assertIn(result.returncode, (1, 2), shown)  # 3 would call the system's fault one of ours
            self.assertTrue(result.stderr.startswith("yopo: "), shown)
            self.assertEqual(result.stderr.count("\n"), 1, shown)
            self.assertLess(len(result.stderr), 600, shown)
        for path, content in left.items():
            self.assertNotIn(".tmp-", path, f"left behind: {shown}")
            self.assertNotIn(".partial-", path, f"left behind: {shown}")
            if not path.endswith(JOURNALS):
                self.assertEqual(content, expected.get(path), f"half-written: {path}: {shown}")
        self.assertEqual(self.finish(name, fresh=False), self.expected[name], shown)
        return result.returncode


class OpenFilesTest(LimitCase):
    def test_every_number(self):
        """From the three that every process has and one for the loader, to as many as nobody needs."""
        codes = {name: [self.check(name, resource.RLIMIT_NOFILE, limit) for limit in (range(4, 40) if ALL else (4, 6, 9))] for name in NAMES}
        self.assertIn(2, codes["export"])  # the limits are felt
        self.assertEqual({code[-1] for code in codes.values()}, {0})


class AddressSpaceTest(LimitCase):
    def lowest(self):
        """The least memory in MB that the command loads in."""
        low, high = 16, 16384
        self.assertEqual(limited(command("--version"), resource.RLIMIT_AS, high * MB).returncode, 0)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if limited(command("--version"), resource.RLIMIT_AS, middle * MB).returncode == 0 else (middle, high)
        return high

    def test_sizes(self):
        low = self.lowest()
        steps = range(0, 400, 2) if ALL else [0, 14, 40, 130, 400]
        felt = set()
        for name in NAMES if ALL else ["calibrate", "plan", "export", "eval"]:
            codes = [self.check(name, resource.RLIMIT_AS, (low + step) * MB, most_loader=True) for step in steps]
            felt.update(codes)
            self.assertEqual(codes[-1], 0, f"{name}: {codes}")
        self.assertIn(2, felt)


class StackTest(LimitCase):
    def test_sizes(self):
        for name in NAMES:
            for kilobytes in [64, 96, 128, 256, 1024, 4096] if ALL else [64, 160, 1024]:
                self.assertEqual(self.check(name, resource.RLIMIT_STACK, kilobytes << 10), 0, f"{name}, {kilobytes} KB")


class FileSizeTest(LimitCase):
    """SIGXFSZ as it is in a shell, where it ends a process."""

    def test_sizes(self):
        for name in NAMES:
            if name in ("inspect", "generate"):
                self.assertEqual(self.check(name, resource.RLIMIT_FSIZE, 0), 0)
                continue
            codes = [self.check(name, resource.RLIMIT_FSIZE, limit) for limit in ([0, 1, 100, 700, 5000, 20_000, 30_000, 200_000, 64 * MB] if ALL
                                                                                 else [0, 700, 30_000, 64 * MB])]
            self.assertEqual((codes[0], codes[-1]), (2, 0), f"{name}: {codes}")


if __name__ == "__main__":
    unittest.main()
