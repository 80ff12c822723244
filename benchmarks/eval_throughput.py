"""How much faster questions are answered in batches than one at a time, through `yopo eval`: both sides by turns, the answers held
against each other, and where the time of each side went.

By default the demo's model and its 1,000 test questions. The median of the rounds counts, once by the clock and once in CPU
seconds of the process, which other work on the machine disturbs less. Exit code 1 if the answers differ.
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIGITGRID = ROOT / "examples" / "digitgrid"
PARTS = ("model", "waited", "journal")  # what the command's own clock splits; `prepare` runs beside the model


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def evaluate(options, batch, folder):
    """One whole run: (result, CPU seconds, the answers' bytes)."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [options.yopo, "eval", "--model", options.model, "--benchmark", options.benchmark, "--questions", options.questions,
               "--batch-size", batch, "--dtype", options.dtype, "--device", options.device, "--output", folder, "--quiet", "--json"]
    for flag, value in (("--images", options.images), ("--annotations", options.annotations), ("--protocol", options.protocol),
                        ("--threads", options.threads)):
        command += [flag, value] if value else []
    before = cpu_seconds()
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    used = cpu_seconds() - before
    answers, = (folder / "answers").glob("*.jsonl")
    return json.loads(done.stdout)["results"][0], used, answers.read_bytes()


def share(result, name):
    return f"{name} {100 * result.get(f'seconds_{name}', 0) / result['seconds']:.1f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--yopo", default=str(ROOT / "build/release/yopo"))
    parser.add_argument("--model", type=pathlib.Path, default=DIGITGRID / "model")
    parser.add_argument("--benchmark", default="vqa")
    parser.add_argument("--protocol")
    parser.add_argument("--questions", type=pathlib.Path, default=DIGITGRID / "data/test/questions.jsonl")
    parser.add_argument("--images", type=pathlib.Path, default=DIGITGRID / "data/test/images")
    parser.add_argument("--annotations")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    runs = {batch: [] for batch in (1, *options.batch)}
    expected = None
    with tempfile.TemporaryDirectory(prefix="yopo-bench-") as folder:
        for _ in range(options.rounds):
            for batch, list_of in runs.items():
                result, used, answers = evaluate(options, batch, pathlib.Path(folder) / str(batch))
                expected = expected or answers
                if answers != expected:
                    print(f"batch {batch}: other answers than one at a time", file=sys.stderr)
                    return 1
                list_of.append((result, used))
    print(f"{os.cpu_count()} CPUs; {runs[1][0][0]['count']} scored; the answers of all sides are the same bytes")
    base = None
    for batch, list_of in runs.items():
        seconds = statistics.median(result["seconds"] for result, _ in list_of)
        used = statistics.median(used for _, used in list_of)
        base = base or (seconds, used)
        middle = min(list_of, key=lambda one: abs(one[0]["seconds"] - seconds))[0]
        print(f"batch {batch:4}: {seconds:7.2f} s, {used:7.2f} CPU s; {base[0] / seconds:5.2f}x by the clock, "
              f"{base[1] / used:5.2f}x in CPU time; {', '.join(share(middle, name) for name in PARTS)}; "
              f"beside the model: {share(middle, 'prepare')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
