"""Makes the n-th system call of a kind fail in every command, on the files of one folder that holds its inputs and outputs.

Whatever fails, the command ends with exit code 0 and the bytes of an undisturbed run, or with 1, 2, 3 or 130 and one message; under
a final name stands what an undisturbed run writes, or what was there before, or nothing; and the same command afterwards ends with
the same bytes and leaves nothing else behind.

    tests/faults/faults.py SHIM            a sample, as `make test` runs it
    tests/faults/faults.py SHIM --all      every call of every kind with every error: an hour and more
"""
import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
from support import CALIB, MODEL, TEST, command  # noqa: E402

ERRORS = {
    "open": ["EIO", "EINTR", "EMFILE", "ENOSPC"], "read": ["EIO", "EINTR", "short"], "pread": ["EIO", "EINTR", "short"],
    "write": ["EIO", "ENOSPC", "EINTR", "short"], "fsync": ["EIO", "ENOSPC", "EINTR"], "rename": ["EIO", "ENOSPC"], "mmap": ["EIO"],
    "unlink": ["EIO"], "close": ["EIO", "EINTR", "ENOSPC"], "mkdir": ["EIO", "ENOSPC"], "truncate": ["EIO"],
    "fallocate": ["ENOSPC", "EIO", "EINTR"],
}
# Names that hold what a run has done so far; their content may be anything that the next run takes up.
JOURNALS = (".partial", ".jsonl", ".fingerprint", ".lock")


def copy_cut(model, folder, layers):
    """The checkpoint with its first decoder layers alone: fewer calls, each kind still there."""
    shutil.copytree(model, folder)
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    kept, body = {}, b""
    for name, entry in header.items():
        found = re.search(r"language_model\..*layers\.(\d+)\.", name)
        if name == "__metadata__":
            kept[name] = entry
        elif not found or int(found[1]) < layers:
            first, last = entry["data_offsets"]
            kept[name] = {**entry, "data_offsets": [len(body), len(body) + last - first]}
            body += data[8 + length + first:8 + length + last]
    assert len(kept) < len(header), "no layer was cut"
    text = json.dumps(kept).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = layers
    (folder / "config.json").write_text(json.dumps(config))


class Commands:
    """Inputs in `folder`/in, made once; each command writes into the folder it is given."""

    def __init__(self, folder):
        self.inputs = folder / "in"
        self.inputs.mkdir()
        copy_cut(MODEL, self.inputs / "model", 2)
        samples = TEST.samples()[:6]
        (self.inputs / "images").mkdir()
        for sample in samples:
            shutil.copy(TEST.images / sample["image"], self.inputs / "images")
        (self.inputs / "questions.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        shutil.copy(TEST.questions.parent / "answers.jsonl", self.inputs)
        self.model = ["--model", self.inputs / "model"]
        self.data = ["--questions", self.inputs / "questions.jsonl", "--images", self.inputs / "images"]
        stats, plan = self.inputs / "stats.h5", self.inputs / "plan.json"
        self.ready(["calibrate", *self.model, *self.data, "--output", stats])
        for part in (1, 2):
            self.ready(["calibrate", *self.model, *self.data, "--part", f"{part}/2", "--output", self.inputs / f"part{part}.h5"])
        self.ready(["plan", *self.model, "--stats", stats, "--updates-keep", "0.5", "--ffn-keep", "0.25", "--output", plan])

    def ready(self, arguments):
        result = subprocess.run(command(*arguments, "--quiet"), capture_output=True, text=True)
        assert result.returncode == 0, result.stderr

    def all(self, output):
        stats, plan = self.inputs / "stats.h5", self.inputs / "plan.json"
        return {
            "calibrate": ["calibrate", *self.model, *self.data, "--threads", 1, "--output", output / "stats.h5"],
            "merge": ["merge", self.inputs / "part1.h5", self.inputs / "part2.h5", "--output", output / "stats.h5"],
            "plan": ["plan", *self.model, "--stats", stats, "--ffn-keep", "0.5", "--output", output / "plan.json"],
            "headmask": ["headmask", "--stats", stats, "--keep", "0.5", "--output", output / "mask.npy"],
            "export": ["export", *self.model, "--plan", plan, "--output", output / "pruned"],
            "eval": ["eval", *self.model, *self.data, "--benchmark", "vqa", "--batch-size", 2, "--threads", 1, "--output", output],
            "inspect": ["inspect", self.inputs / "model"],
            "generate": ["generate", *self.model, "--image", self.inputs / "images" / "0000.png", "--prompt", "How many?",
                         "--max-new-tokens", 3, "--threads", 1],
        }


def contents(folder):
    """Name -> what stands there; times in eval.json are of the run."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            continue
        data = path.read_bytes()
        if path.name == "eval.json":
            results = json.loads(data)["results"]
            data = json.dumps([{k: v for k, v in one.items() if not k.startswith("seconds")} for one in results]).encode()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


class Harness:
    def __init__(self, shim, folder):
        self.shim, self.folder = shim, folder
        self.commands = Commands(folder)
        self.failures = []
        self.codes = collections.Counter()

    def run(self, arguments, call=None, at=0, kind="EIO"):
        environment = dict(os.environ)
        count = self.folder.parent / (self.folder.name + ".count")
        if call:
            environment.update(LD_PRELOAD=str(self.shim), YOPO_FAULT_UNDER=str(self.folder), YOPO_FAULT_CALL=call,
                               YOPO_FAULT_AT=str(at), YOPO_FAULT_KIND=kind, YOPO_FAULT_COUNT=str(count))
        result = subprocess.run(command(*arguments, "--quiet"), capture_output=True, text=True, errors="replace", timeout=120,
                                env=environment)
        seen = int(count.read_text()) if call and count.exists() else 0
        count.unlink(missing_ok=True)
        return result, seen

    def fresh(self):
        output = self.folder / "out"
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        return output

    def expectation(self, name):
        output = self.fresh()
        result, _ = self.run(self.commands.all(output)[name])
        assert result.returncode == 0, result.stderr
        return contents(output), result.stdout

    def counts(self, name):
        """How many calls of each kind an undisturbed run makes."""
        found = {}
        for call in ERRORS:
            result, found[call] = self.run(self.commands.all(self.fresh())[name], call)
            assert result.returncode == 0, result.stderr
        return found

    def check(self, name, call, at, kind, expected, printed):
        output = self.fresh()
        arguments = self.commands.all(output)[name]
        before = contents(self.commands.inputs)
        result, _ = self.run(arguments, call, at, kind)
        problems = []
        left = contents(output)
        if result.returncode == 0:
            same = {key: value for key, value in left.items() if ".tmp-" not in key and not key.endswith(".partial")}
            if same != expected:
                problems.append(f"exit code 0, other content: {sorted(set(same.items()) ^ set(expected.items()))}")
            if name in ("inspect", "generate", "plan") and result.stdout != printed:
                problems.append("exit code 0, other output")
        elif result.returncode not in (1, 2, 3, 130):
            problems.append(f"exit code {result.returncode}")
        elif not (result.stderr.startswith("yopo: ") and result.stderr.count("\n") == 1):
            problems.append("not one message")
        elif result.returncode == 3:
            problems.append("a fault of the disk is called one of ours")
        for key, value in left.items():
            final = not key.endswith(JOURNALS) and ".tmp-" not in key and ".partial-" not in key
            if final and expected.get(key) != value:
                problems.append(f"half-written: {key}")
            if not final and call != "unlink" and (".tmp-" in key or ".partial-" in key):
                problems.append(f"left behind: {key}")
        if contents(self.commands.inputs) != before:
            problems.append("changed inputs")
        again, _ = self.run(arguments)
        if again.returncode != 0 or contents(output) != expected:
            problems.append(f"run again: exit code {again.returncode}, {again.stderr.strip()}, "
                            f"{sorted(set(contents(output).items()) ^ set(expected.items()))}")
        self.codes[result.returncode] += 1
        for problem in problems:
            self.failures.append(f"{name}, {call} {at} {kind}: {problem}")
            print(self.failures[-1], result.stderr.strip(), sep="\n    ", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shim", type=pathlib.Path, help="the library that makes calls fail")
    parser.add_argument("--all", action="store_true", help="every call instead of a sample")
    parser.add_argument("--faults", type=int, default=50, help="how many in the sample")
    parser.add_argument("--only", help="one command")
    parser.add_argument("--seed", type=int, default=20241006)
    options = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="yopo-faults-"))
    began = time.monotonic()
    try:
        folder = root / "files"
        folder.mkdir()
        harness = Harness(options.shim.resolve(), folder)
        names = [options.only] if options.only else list(harness.commands.all(folder))
        expected = {name: harness.expectation(name) for name in names}
        faults = []
        for name in names:
            counts = harness.counts(name)
            print(f"{name}: " + ", ".join(f"{count} {call}" for call, count in counts.items() if count), flush=True)
            faults += [(name, call, at, kind) for call, count in counts.items() for at in range(1, count + 1) for kind in ERRORS[call]]
        if not options.all:
            # Of each command and kind of call first one, so that none is left out; then at random.
            chance = random.Random(options.seed)
            chance.shuffle(faults)
            firsts = {}
            for fault in faults:
                firsts.setdefault(fault[:2], fault)
            faults = (list(firsts.values()) + [fault for fault in faults if fault not in firsts.values()])[:options.faults]
        for fault in faults:
            harness.check(*fault, *expected[fault[0]])
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"{len(faults)} faults in {time.monotonic() - began:.0f} s, exit codes "
          f"{dict(sorted(harness.codes.items()))}, {len(harness.failures)} failures")
    return 1 if harness.failures else 0


if __name__ == "__main__":
    sys.exit(main())
