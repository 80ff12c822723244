"""The whole way at a model's real size, without its weights: from configs/models/NAME.json a random checkpoint (`yopo random`), a
tokenizer, drawn images and questions, then calibrate, plan, export and verify through the command; wall time, CPU time and peak
memory of each, and the export beside `cp` of the same files.

Peak memory is the process's largest resident set, pages of mapped weights included. Export and `cp` alternate, each with the source
dropped from the page cache and its copy on disk at the end. Prints a table and writes results.json.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

from PIL import Image, ImageDraw

from make_tokenizer import make_tokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAGES = ("calibrate", "plan", "export", "verify")
COLORS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (50, 70, 200), "yellow": (230, 210, 60), "white": (245, 245, 245),
          "black": (20, 20, 20)}
SHAPES = ("circle", "square", "triangle")


def measure(*command, fine=(0,)):
    """Runs a command; seconds, CPU seconds, peak resident bytes and what it printed. Ends the program on another exit code than
    those in `fine`."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)  # this child's usage alone, unlike getrusage(RUSAGE_CHILDREN)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode not in fine:
        sys.exit(f"full_size.py: {' '.join(map(str, command))}: exit code {process.returncode}\n{printed}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024,
            "exit_code": process.returncode, "printed": printed}


def draw_samples(folder, count, seed, size):
    """`count` images of coloured shapes with a question each, in the llava format."""
    chance = random.Random(seed)
    (folder / "images").mkdir(parents=True)
    records = []
    for number in range(count):
        image = Image.new("RGB", size, tuple(chance.randrange(256) for _ in range(3)))
        pen = ImageDraw.Draw(image)
        for _ in range(12):
            color, shape = chance.choice(sorted(COLORS)), chance.choice(SHAPES)
            x, y, side = chance.randrange(size[0]), chance.randrange(size[1]), chance.randrange(20, 160)
            if shape == "circle":
                pen.ellipse((x, y, x + side, y + side), fill=COLORS[color])
            elif shape == "square":
                pen.rectangle((x, y, x + side, y + side), fill=COLORS[color])
            else:
                pen.polygon((x, y + side, x + side, y + side, x + side // 2, y), fill=COLORS[color])
        image.save(folder / "images" / f"{number}.png")
        records.append({"question_id": number, "image": f"{number}.png", "category": "drawn",
                        "text": f"How many {chance.choice(sorted(COLORS))} {chance.choice(SHAPES)}s can be seen in the image?\n"
                                "Answer the question using a single word or phrase."})
    (folder / "questions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def forget(folder):
    """Drops a folder's files from the page cache, so that they are read from disk again."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


class Run:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.model, self.pruned, self.copy = folder / "model", folder / "pruned", folder / "copy"
        self.stats, self.plan = folder / "stats.h5", folder / "plan.json"
        self.rows = {}
        samples = folder / "samples"
        self.data = ["--questions", samples / "questions.jsonl", "--images", samples / "images"]
        if not samples.exists():
            draw_samples(samples, options.samples, options.seed, tuple(options.image_size))

    def yopo(self, *arguments, fine=(0,)):
        limited = self.options.memory and arguments[0] in ("calibrate", "verify")
        limits = ["--threads", self.options.threads] + (["--memory", self.options.memory] if limited else [])
        return measure(self.options.yopo, *arguments, *limits, "--json", fine=fine)

    def keep(self, name, result, **facts):
        result.pop("printed")
        self.rows[name] = {**result, **facts}
        print(f"{name}: {result['seconds']:.1f} s, peak {result['peak_bytes'] / 1e9:.2f} GB", file=sys.stderr, flush=True)

    def random(self):
        o = self.options
        result = self.yopo("random", "--config", ROOT / f"configs/models/{o.model}.json", "--output", self.model, "--layers", o.layers,
                           "--dtype", o.dtype, "--seed", o.seed)
        made = json.loads(result["printed"])
        make_tokenizer(self.model)
        self.keep("random", result, bytes=made["bytes"], parameters=made["parameters"])

    def calibrate(self):
        self.stats.unlink(missing_ok=True)
        self.keep("calibrate", self.yopo("calibrate", "--model", self.model, *self.data, "--output", self.stats),
                  samples=self.options.samples)

    def make_plan(self):
        layers = json.loads(self.yopo("inspect", self.model)["printed"])["model"]["num_hidden_layers"]
        self.keep("plan", self.yopo("plan", "--stats", self.stats, "--model", self.model, "--heads-keep", "0.5", "--ffn-keep", "0.5",
                                    "--window", "5", "--visual-layers", max(1, layers // 2), "--force", "--output", self.plan))

    def export(self):
        exports, copies = [], []
        for _ in range(self.options.rounds):
            for target in (self.pruned, self.copy):
                shutil.rmtree(target, ignore_errors=True)
            forget(self.model)
            exports.append(self.yopo("export", "--model", self.model, "--plan", self.plan, "--output", self.pruned))
            if self.options.no_cp:
                continue
            forget(self.model)
            self.copy.mkdir()
            copies.append(measure("sh", "-c", 'cp "$0"/* "$1"/ && sync "$1"/*', self.model, self.copy))
            shutil.rmtree(self.copy)
        total = size_of(self.model)

        def middle(results, key):
            return statistics.median(result[key] for result in results)

        for name, results in (("export", exports), ("cp", copies)):
            if not results:
                continue
            self.keep(name, {**results[0], "seconds": middle(results, "seconds"), "cpu_seconds": middle(results, "cpu_seconds"),
                             "peak_bytes": max(result["peak_bytes"] for result in results)}, bytes=total,
                      all_seconds=[result["seconds"] for result in results])
        if copies:  # of each round's neighbours: what the disk does at the time meets both
            self.rows["export"]["rate_over_cp"] = statistics.median(
                copy["seconds"] / export["seconds"] for export, copy in zip(exports, copies))

    def verify(self):
        result = self.yopo("verify", "--model", self.pruned, "--original", self.model, *self.data, "--output",
                           self.folder / "verify.json", fine=(0, 1))
        verdict = json.loads((self.folder / "verify.json").read_text())
        self.keep("verify", result, samples=self.options.samples, passed=verdict["passed"], checks=verdict["checks"])


def print_table(result):
    print(f"{result['model']}, {result['layers'] or 'all'} layers, {result['dtype']}, {result['samples']} samples, "
          f"memory limit {result['memory'] or 'none'}\n")
    print("| stage | seconds | CPU seconds | peak memory | rate | |\n|---|---|---|---|---|---|")
    for name, row in result["stages"].items():
        rate = f"{row['bytes'] / row['seconds'] / 1e6:.0f} MB/s" if "bytes" in row else (
            f"{row['seconds'] / row['samples']:.1f} s a sample" if "samples" in row else "")
        note = f"{row['rate_over_cp']:.2f} of cp" if "rate_over_cp" in row else (
            ("passed" if row["passed"] else "FAILED") if "passed" in row else "")
        print(f"| {name} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['peak_bytes'] / 1e9:.2f} GB | {rate} | {note} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="llava-1.5-7b", help="a name in configs/models")
    parser.add_argument("--layers", type=int, default=0, help="cut to this many decoder layers; 0: all")
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "fp16", "fp32"])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--image-size", type=int, nargs=2, default=[640, 480], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--memory", default="", help="the command's --memory, such as 8GB")
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    parser.add_argument("--rounds", type=int, default=1, help="alternations of export and cp")
    parser.add_argument("--no-cp", action="store_true", help="no cp beside the export: a disk that holds the model only twice")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES,
                        help="each needs what those before it left behind (--keep)")
    parser.add_argument("--keep", action="store_true", help="keep checkpoints and samples, and use them again")
    parser.add_argument("--yopo", default=str(ROOT / "build/release/yopo"))
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "out/full_size")
    options = parser.parse_args()
    if options.samples < 1 or options.rounds < 1:
        parser.error("--samples and --rounds are 1 or more")
    # All that decides the files' contents, so that kept ones are never taken for others.
    folder = options.output / "-".join(map(str, (options.model, options.layers or "all", options.dtype, options.seed, options.samples,
                                                 *options.image_size)))
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(options, folder)
    try:
        if not run.model.exists():
            run.random()
        for stage in STAGES:
            if stage in options.stages:
                {"calibrate": run.calibrate, "plan": run.make_plan, "export": run.export, "verify": run.verify}[stage]()
    finally:
        if not options.keep:
            for left in (run.model, run.pruned, run.copy, folder / "samples"):
                shutil.rmtree(left, ignore_errors=True)
    result = {"model": options.model, "layers": options.layers, "dtype": options.dtype, "samples": options.samples,
              "memory": options.memory, "threads": options.threads or os.cpu_count(), "cpus": os.cpu_count(),
              "machine_memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "stages": run.rows}
    (folder / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    print_table(result)
    failed = run.rows.get("verify", {}).get("passed") is False
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
