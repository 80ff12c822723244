"""Sends SIGTERM, SIGINT or SIGKILL at a random moment of every command, on the files that faults.py makes.

The command ends as it would have, or with exit code 130 and one message, or (SIGKILL) at once; under a final name stands what an
undisturbed run writes or nothing; and the same command afterwards ends with the same bytes and leaves nothing else behind.

    tests/faults/signals.py --moments 200 --jobs 2
    tests/faults/signals.py --server build/asan/fault_server.so        under sanitizers, whose processes take long to start
"""
import argparse
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

from faults import JOURNALS, YOPO, Harness, check_all, contents

SIGNALS = {"TERM": signal.SIGTERM, "INT": signal.SIGINT, "KILL": signal.SIGKILL}


class Signals(Harness):
    def __init__(self, shim, folder):
        super().__init__(shim, folder)
        self.seconds = {}

    def length(self, name):
        arguments = self.commands.all(self.fresh(name))[name]
        began = time.monotonic()
        self.run(arguments)
        return time.monotonic() - began

    def expectation(self, name):
        if name not in self.expected:
            self.seconds[name] = min(self.length(name) for _ in range(4))  # the first is slower, and most signals would come too late
        return super().expectation(name)

    def check(self, name, kind, moment):
        """`moment`: as a part of what the command takes undisturbed."""
        expected, printed = self.expectation(name)
        output = self.fresh(name)
        given = contents(output)
        arguments = self.commands.all(output)[name]
        process = self.server.start([YOPO, *arguments, "--quiet"])
        time.sleep(moment * self.seconds[name])
        os.kill(process, SIGNALS[kind])
        code, out, error = self.server.wait(process)
        problems = []
        if "Sanitizer" in error or "runtime error" in error:
            problems.append("a finding of a sanitizer")
        if code == 130:
            if not (error.startswith("yopo: interrupted") and error.count("\n") == 1):
                problems.append("not one message")
        # Before its first instruction a process ends by any signal, as it always did.
        elif code == -SIGNALS[kind]:
            if kind != "KILL" and error:
                problems.append("ended by the signal after it said something")
        elif code != 0:
            problems.append(f"exit code {code}")
        left = contents(output)
        if code == 0 and (left, out) != (expected, printed) and name != "eval":
            problems.append("exit code 0, other content or output")
        for key, value in left.items():
            unfinished = key.endswith(JOURNALS) or ".tmp-" in key or ".partial-" in key
            if not unfinished and value not in (expected.get(key), given.get(key)):
                problems.append(f"half-written: {key}")
            if kind != "KILL" and (".tmp-" in key or ".partial-" in key):
                problems.append(f"left behind: {key}")
        if name == "random" and code in (0, 130):  # writes into an empty folder alone
            shutil.rmtree(output / "random", ignore_errors=True)
        again = self.run(arguments)
        if again.returncode != 0 or contents(output) != expected:
            problems.append(f"run again: exit code {again.returncode}, {again.stderr.strip()[-2000:]}, "
                            f"{sorted(set(contents(output).items()) ^ set(expected.items()))}")
        return code, [f"{name}, {kind} at {moment:.3f}: {problem}\n    {error.strip()[-2000:]}" for problem in problems]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moments", type=int, default=200, help="of every command")
    parser.add_argument("--kinds", default=",".join(SIGNALS), help="in turn; with commas between")
    parser.add_argument("--server", type=pathlib.Path, help="the library fault_server: the runs are forks of one process")
    parser.add_argument("--only", help="these commands, with commas between")
    parser.add_argument("--jobs", type=int, default=1, help="so many at once")
    parser.add_argument("--seed", type=int, default=20241006)
    options = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="yopo-signals-"))
    try:
        (root / "names").mkdir()
        names = options.only.split(",") if options.only else list(Harness(None, root / "names").commands.all(root))
        kinds = options.kinds.split(",")
        chance = random.Random(options.seed)
        moments = [(name, kinds[i % len(kinds)], chance.uniform(0, 1.05)) for name in names for i in range(options.moments)]
        chance.shuffle(moments)
        failures = check_all(moments, options.jobs, root, options.server and options.server.resolve(), Signals)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
