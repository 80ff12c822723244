"""Makes the n-th system call of a kind fail in every command, on the files of one folder that holds its inputs and outputs.

Whatever fails, the command ends with exit code 0 and the bytes of an undisturbed run, or with 1, 2, 3 or 130 and one message; under
a final name stands what an undisturbed run writes, or what was there before, or nothing; and the same command afterwards ends with
the same bytes and leaves nothing else behind.

    tests/faults/faults.py SHIM            a sample, as `make test` runs it
    tests/faults/faults.py SHIM --all      every call of every kind with every error
"""
import argparse
import collections
import hashlib
import json
import multiprocessing
import os
import pathlib
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
from support import MODEL, ROOT, TEST, YOPO, command  # noqa: E402

from server import Processes, Server  # noqa: E402

ERRORS = {
    "open": ["EIO", "EINTR", "EMFILE", "ENOSPC"], "read": ["EIO", "EINTR", "short"], "pread": ["EIO", "EINTR", "short"],
    "write": ["EIO", "ENOSPC", "EINTR", "short"], "fsync": ["EIO", "ENOSPC", "EINTR"], "rename": ["EIO", "ENOSPC"], "mmap": ["EIO"],
    "unlink": ["EIO"], "close": ["EIO", "EINTR", "ENOSPC"], "mkdir": ["EIO", "ENOSPC"], "truncate": ["EIO"],
    "fallocate": ["ENOSPC", "EIO", "EINTR"], "stat": ["EIO"], "list": ["EIO"], "flock": ["EIO", "EINTR"],
}
# Small checkpoints of the reference cases: the kinds of calls are those of a large one, a run takes a fraction of a second.
SMALL = ROOT / "tests" / "data" / "fixtures" / "llava_hf"
RECIPE = """\
model: {{path: {inputs}/model}}
calibration:
  dataset: {{format: llava, questions: {inputs}/few.jsonl, images: {inputs}/images}}
plan: {plan}
search: {{samples: 2, evaluations: 4}}
verify: {{samples: 2}}
evaluate:
  - {{benchmark: vqa, questions: {inputs}/few.jsonl, images: {inputs}/images, batch_size: 1}}
"""
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
        (self.inputs / "few.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples[:2]))  # what takes long
        shutil.copy(TEST.questions.parent / "answers.jsonl", self.inputs)
        self.model = ["--model", self.inputs / "model"]
        self.data = ["--questions", self.inputs / "questions.jsonl", "--images", self.inputs / "images"]
        stats, plan = self.inputs / "stats.h5", self.inputs / "plan.json"
        self.ready(["calibrate", *self.model, *self.data, "--output", stats])
        for part in (1, 2):
            self.ready(["calibrate", *self.model, *self.data, "--part", f"{part}/2", "--output", self.inputs / f"part{part}.h5"])
        self.ready(["plan", *self.model, "--stats", stats, "--updates-keep", "0.5", "--ffn-keep", "0.25", "--output", plan])
        self.ready(["export", *self.model, "--plan", plan, "--output", self.inputs / "pruned"])
        shutil.copytree(SMALL / "model", self.inputs / "small")
        shutil.copy(SMALL / "cases" / "single" / "inputs.safetensors", self.inputs / "tensors.safetensors")
        self.recipe("by_hand", "{ffn: {keep: 0.5}}")
        self.recipe("budget", "{budget: 0.5}")
        self.ran(self.inputs / "done", "by_hand")

    def recipe(self, name, plan):
        (self.inputs / f"{name}.yaml").write_text(RECIPE.format(inputs=self.inputs, plan=plan))

    def ran(self, output, name):
        self.ready(["run", self.inputs / f"{name}.yaml", "--set", f"output={output}", "--threads", 1])
        return output

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
            "eval": ["eval", *self.model, *self.data, "--benchmark", "vqa", "--batch-size", 3, "--threads", 1, "--output", output],
            "inspect": ["inspect", self.inputs / "model"],
            "generate": ["generate", *self.model, "--image", self.inputs / "images" / "0000.png", "--prompt", "How many?",
                         "--max-new-tokens", 3, "--threads", 1],
            "verify": ["verify", "--model", self.inputs / "pruned", "--original", self.inputs / "model", *self.data, "--samples", 2,
                       "--threads", 1, "--output", output / "verify.json"],
            "trace": ["trace", "--model", self.inputs / "small", "--inputs", self.inputs / "tensors.safetensors", "--decode", "3,4",
                      "--threads", 1, "--output", output / "trace.safetensors"],
            "random": ["random", "--config", self.inputs / "small" / "config.json", "--output", output / "random"],
            "run": ["run", self.inputs / "by_hand.yaml", "--set", f"output={output / 'run'}", "--threads", 1],
            "search": ["plan", self.inputs / "budget.yaml", "--set", f"output={output / 'run'}", "--threads", 1],
            "compare": ["compare", self.inputs / "budget.yaml", "--set", f"output={output / 'run'}", "--threads", 1, "--seeds", 1,
                        "--controls", "solver,uniform,drop_grid"],
            "report": ["report", output / "run"],
        }


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(one) for key, one in value.items() if not key.startswith("seconds") and not key.endswith("_ms")}
    return [without_times(one) for one in value] if isinstance(value, list) else value


def contents(folder):
    """Name -> what stands there, without the times that files of results hold."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            continue
        data = path.read_bytes()
        if path.name in ("eval.json", "comparison.json", "compare.json"):
            data = json.dumps(without_times(json.loads(data))).encode()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def everything(folder):
    """Names of files and folders."""
    return sorted(str(path) for path in folder.rglob("*"))


def stamps(folder):
    """What the kernel changes with every change of a file."""
    return {name: (status.st_ino, status.st_size, status.st_mode, status.st_ctime_ns) for name in everything(folder) for status in [os.lstat(name)]}


class Harness:
    def __init__(self, library, folder):
        self.folder = folder
        self.count = folder.with_name(folder.name + ".count")
        self.commands = Commands(folder)
        self.inputs = stamps(self.commands.inputs)
        self.expected, self.continued = {}, set()
        self.server = Processes() if library is None else Server(
            library, folder, {"YOPO_FAULT_UNDER": str(folder), "YOPO_FAULT_COUNT": str(self.count)})

    def run(self, arguments, *fault):
        return self.server.run([YOPO, *arguments, "--quiet"], *fault)

    def fresh(self, name):
        """The output folder as `name` finds it."""
        output = self.folder / "out"
        output.mkdir(exist_ok=True)
        self.prepare(name, output)
        return output

    def prepare(self, name, output):
        for left in output.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        done = self.commands.inputs / "done"
        if name == "report":
            shutil.copytree(done, output / "run")
        elif name in ("search", "compare"):
            (output / "run").mkdir()
            shutil.copy(done / "stats.h5", output / "run")

    def expectation(self, name):
        if name not in self.expected:
            output = self.fresh(name)
            result = self.run(self.commands.all(output)[name])
            assert result.returncode == 0, result.stderr
            self.expected[name] = contents(output), result.stdout
        return self.expected[name]

    def counts(self, name):
        """How many calls of each kind an undisturbed run makes."""
        result = self.run(self.commands.all(self.fresh(name))[name], "open", 0, "EIO")
        assert result.returncode == 0, result.stderr
        found = dict(line.split() for line in self.count.read_text().splitlines())
        return {call: int(found[call]) for call in ERRORS}

    def check(self, name, call, at, kind):
        """The exit code, and what is wrong."""
        expected, printed = self.expectation(name)
        output = self.fresh(name)
        given = contents(output)
        arguments = self.commands.all(output)[name]
        result = self.run(arguments, call, at, kind)
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
            if final and value not in (expected.get(key), given.get(key)):
                problems.append(f"half-written: {key}")
            if not final and call != "unlink" and (".tmp-" in key or ".partial-" in key):
                problems.append(f"left behind: {key}")
        if stamps(self.commands.inputs) != self.inputs:
            problems.append("changed inputs")
        if name == "random" and result.returncode == 0:  # writes into an empty folder alone
            shutil.rmtree(output / "random")
        # Runs that start from the same files end alike: one is enough of each.
        state = name, *left.items(), *everything(output)
        if state not in self.continued:
            again = self.run(arguments)
            if again.returncode != 0 or contents(output) != expected:
                problems.append(f"run again: exit code {again.returncode}, {again.stderr.strip()}, "
                                f"{sorted(set(contents(output).items()) ^ set(expected.items()))}")
            else:
                self.continued.add(state)
        return result.returncode, [f"{name}, {call} {at} {kind}: {problem}\n    {result.stderr.strip()}" for problem in problems]


def numbered(faults, root, shim, kind, number):
    """One process's share: each has files of its own, so that none sees what another does."""
    folder = root / str(number) / "files"
    folder.mkdir(parents=True)
    harness = kind(shim, folder)
    for fault in iter(faults.get, None):
        yield fault, *harness.check(*fault)


def work(faults, found, *where):
    try:
        for one in numbered(faults, *where):
            found.put(one)
    except BaseException as error:  # the parent ends, rather than waiting for a share that never comes
        found.put((None, None, [repr(error)]))
        raise


def parts(faults, jobs, root, shim, kind=Harness):
    """Yields (fault, exit code, problems) as they come; `kind` is the class that checks one."""
    if jobs == 1:
        waiting = queue.SimpleQueue()
        for fault in [*faults, None]:
            waiting.put(fault)
        yield from numbered(waiting, root, shim, kind, 0)
        return
    waiting, found = multiprocessing.Queue(), multiprocessing.Queue()
    for fault in [*faults, *[None] * jobs]:
        waiting.put(fault)
    for number in range(jobs):
        multiprocessing.Process(target=work, args=(waiting, found, root, shim, kind, number), daemon=True).start()
    for _ in faults:
        yield found.get()


def taken_up(done):
    """The file `done`, open for more, and what passed with the command as it is."""
    command_now = hashlib.sha256(YOPO.read_bytes()).hexdigest()
    before = done.read_text().splitlines() if done and done.exists() else []
    known = before[1:] if before[:1] == [command_now] else []
    record = open(done or os.devnull, "a" if known else "w")
    if not known:
        print(command_now, file=record, flush=True)
    return record, set(known)


def check_all(faults, jobs, root, shim, kind=Harness, done=None):
    """Checks each, shows what is wrong and how far it is, and at the end what came of them. Gives how many failed."""
    record, before = taken_up(done)
    faults = [fault for fault in faults if json.dumps(fault) not in before]
    if before:
        print(f"{len(before)} are done, {len(faults)} are left", flush=True)
    began = said = time.monotonic()
    failed, codes, checked = 0, collections.Counter(), collections.Counter()
    try:
        for fault, code, problems in parts(faults, jobs, root, shim, kind):
            if fault is None:
                raise SystemExit(f"a process ended: {problems[0]}")
            codes[code] += 1
            checked[fault[0]] += 1
            failed += len(problems)
            for problem in problems:
                print(problem, flush=True)
            if not problems:
                print(json.dumps(fault), file=record, flush=True)
            now, count = time.monotonic(), sum(checked.values())
            if now - said > 60:
                rate = count / (now - began)
                print(f"  {count} of {len(faults)}, {rate:.1f}/s, {(len(faults) - count) / rate / 60:.0f} min left", flush=True)
                said = now
    finally:
        print(f"{sum(checked.values())} of {len(faults)} in {time.monotonic() - began:.0f} s ({', '.join(f'{n} {c}' for n, c in checked.items())}), "
              f"exit codes {dict(sorted(codes.items()))}, {failed} failures")
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shim", type=pathlib.Path, help="the library that makes calls fail")
    parser.add_argument("--all", action="store_true", help="every call instead of a sample")
    parser.add_argument("--faults", type=int, default=90, help="how many in the sample")
    parser.add_argument("--only", help="these commands, with commas between")
    parser.add_argument("--calls", help="these kinds of calls, with commas between")
    parser.add_argument("--done", type=pathlib.Path, metavar="FILE", help="keeps what passed, which the same command need not again")
    parser.add_argument("--jobs", type=int, default=1, help="so many at once")
    parser.add_argument("--seed", type=int, default=20241006)
    options = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="yopo-faults-"))
    try:
        (root / "counts").mkdir()
        harness = Harness(options.shim.resolve(), root / "counts")
        names = options.only.split(",") if options.only else list(harness.commands.all(root))
        faults = []
        for name in names:
            counts = harness.counts(name)
            print(f"{name}: " + ", ".join(f"{count} {call}" for call, count in counts.items() if count), flush=True)
            faults += [(name, call, at, kind) for call, count in counts.items() for at in range(1, count + 1) for kind in ERRORS[call]
                       if not options.calls or call in options.calls.split(",")]
        # Of each command and kind of call first one, so that none is left out; then at random, so that a part says something, too.
        chance = random.Random(options.seed)
        chance.shuffle(faults)
        firsts = {}
        for fault in faults:
            firsts.setdefault(fault[:2], fault)
        chosen = set(firsts.values())
        faults = list(firsts.values()) + [fault for fault in faults if fault not in chosen]
        if not options.all:
            faults = faults[:max(options.faults, len(firsts))]
        failures = check_all(faults, options.jobs, root, options.shim.resolve(), done=options.done)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
