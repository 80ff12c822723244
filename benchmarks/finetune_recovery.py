#!/usr/bin/env python3
"""What fine-tuning gives back of what pruning lost: the demo's models, trained with examples/finetune.

    .venv/bin/python benchmarks/finetune_recovery.py --output out/recovery
    .venv/bin/python benchmarks/finetune_recovery.py --output out/recovery --budgets 0.12 --kinds lora --seeds 0 --score development --learning_rate 5e-4

For each model and budget one `yopo run` of the demo's recipe, and for each kind and seed one run of examples/finetune/finetune.py
on questions made from the training digits; the result goes back through `yopo verify` and `yopo eval`. What follows the
known arguments goes to finetune.py. What is finished is not made again. Needs scikit-learn, for the digits, as well.

Training questions are made from 85 % of the training digits, development questions from the others; images and questions
of data/calib and data/test are in neither, nor are the digits of data/test.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
YOPO = pathlib.Path(os.environ.get("YOPO_COMMAND", ROOT / "build" / "release" / "yopo"))
DIGITGRID, FINETUNE = ROOT / "examples/digitgrid", ROOT / "examples/finetune"
RECIPES = {"model": "configs/demo.yaml", "model_tower": "configs/demo_tower.yaml"}
KINDS = {"full": ("demo.json",), "lora": ("demo-lora.json",), "dense": ("demo.json", "--dense", "True")}
# Of 16 training questions. Multiple choice is what pruning costs nothing of and what the models are near chance in: evenly mixed
# it would be most of the loss. Chosen by development questions, which are evenly mixed as the test questions are.
MIX = ["exist", "location", "color", "exist", "location", "exist", "color", "count", "exist", "location", "color", "exist", "location", "exist", "color", "choice"]
VARIANTS = 16  # of each training scan


def make_data(folder, images):
    """folder/train with conversations.json, folder/development with 2,000 questions."""
    if (folder / "done").is_file():
        return
    sys.path.insert(0, str(DIGITGRID))
    import make_data

    for name, count, seed in (("train", images, 101), ("development", 500, 102)):
        bank = []
        for scans in make_data.digit_bank("train", VARIANTS, seed):
            cut = round(0.85 * len(scans) / VARIANTS) * VARIANTS
            bank.append(scans[:cut] if name == "train" else scans[cut:])
        make_data.write_split(str(folder / name), "train", count, 4, seed, bank, MIX if name == "train" else make_data.KINDS)
    records = []  # one question each: the demo's models never saw a second turn
    for question, answer in zip(*(map(json.loads, open(folder / "train" / file)) for file in ("questions.jsonl", "answers.jsonl"))):
        turns = [{"from": "human", "value": "<image>\n" + question["text"]}, {"from": "gpt", "value": answer["text"]}]
        records.append({"id": str(question["question_id"]), "image": question["image"], "conversations": turns})
    (folder / "train/conversations.json").write_text(json.dumps(records))
    (folder / "done").touch()


def yopo(*arguments):
    run = subprocess.run([YOPO, *map(str, arguments), "--json", "--quiet"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode not in (0, 1) or not run.stdout:
        raise SystemExit(run.stderr)
    return json.loads(run.stdout)


def prune(model, budget, folder):
    """The checkpoint that the recipe makes with another budget."""
    if not (folder / "pruned/config.json").is_file():
        recipe = folder.parent / f"{model}.yaml"
        text = (ROOT / RECIPES[model]).read_text()
        recipe.write_text(text[:text.index("evaluate:")])
        yopo("run", recipe, "--set", f"plan.budget={budget}", "--set", f"output={folder}")
    return folder / "pruned"


def train(settings, pruned, data, seed, output, more):
    """Runs finetune.py as its users do, and gives the CPU seconds."""
    if (output / "cpu_seconds").is_file():
        return float((output / "cpu_seconds").read_text())
    # torch_cpu: `import torch` works where only the CPU part of the wheel is installed.
    start = ("import os, runpy, sys, torch_cpu, torch; torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', 2))); "
             "del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__')")
    name, *flags = settings
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output.mkdir(parents=True, exist_ok=True)
    with open(output / "log", "a") as log:
        subprocess.run([sys.executable, "-c", start, FINETUNE / "finetune.py", FINETUNE / "settings" / name, *flags, "--model", pruned,
                        "--data", data / "conversations.json", "--images", data / "images", "--output_dir", output, "--seed", str(seed), *more],
                       check=True, stdout=log, stderr=subprocess.STDOUT,
                       env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests/python", ROOT / "python", FINETUNE)))})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (output / "cpu_seconds").write_text(f"{seconds:.1f}\n")
    return seconds


def score(model, questions, folder, *more):
    """Accuracy, and that by kind of question."""
    result = folder / "eval.json"
    if not result.is_file():
        yopo("eval", "--model", model, "--benchmark", "vqa", "--questions", questions / "questions.jsonl", "--images", questions / "images",
             "--batch-size", 50, "--output", folder, *more)
    return json.loads(result.read_text())["results"][0]["score"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--budgets", nargs="+", type=float, default=[0.25, 0.12, 0.06])
    parser.add_argument("--kinds", nargs="+", default=["full", "lora"], choices=list(KINDS), help="dense: the model trained on whole, to compare with")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=4000, help="with four training questions each")
    parser.add_argument("--score", default="test", choices=["development", "test"], help="settings are chosen by development questions alone")
    parser.add_argument("--name", default="", help="where runs with other arguments go, beside those without")
    options, more = parser.parse_known_args()
    options.output = options.output.resolve()
    data = options.output / f"data-{options.images}"
    make_data(data, options.images)
    rows = {}
    questions = DIGITGRID / "data/test" if options.score == "test" else data / "development"
    print(f"{'model':12} {'budget':>6} {'kind':5} {'seed':>4} {'dense':>7} {'pruned':>7} {'tuned':>7} {'given back':>10} {'verify':>6} {'CPU':>7}", flush=True)
    for model in options.models:
        for budget in options.budgets:
            folder = options.output / f"{model}-{budget}"
            pruned = prune(model, budget, folder)
            dense_score = score(DIGITGRID / model, questions, options.output / f"{options.score}-{model}")
            pruned_score = score(pruned, questions, folder / options.score)
            for kind in options.kinds:
                for seed in options.seeds:
                    output = folder / f"{kind}{options.name}-{seed}"
                    seconds = train(KINDS[kind], pruned, data / "train", seed, output, more)
                    whole = ["--dense"] if kind == "dense" else []
                    tuned = score(output, questions, output / options.score, *whole)
                    proof = "-"
                    if not whole:
                        calib = DIGITGRID / "data/calib"
                        proof = "passed" if yopo("verify", "--model", output, "--questions", calib / "questions.jsonl", "--images", calib / "images",
                                                 "--samples", 20, "--output", output / "verify.json")["passed"] else "failed"
                    back = (tuned - pruned_score) / (dense_score - pruned_score) if dense_score > pruned_score else float("nan")
                    rows.setdefault((model, budget, kind), []).append((tuned, back))
                    print(f"{model:12} {budget:6} {kind:5} {seed:4} {100 * dense_score:6.1f}% {100 * pruned_score:6.1f}% {100 * tuned:6.1f}% "
                          f"{100 * back:9.0f}% {proof:>6} {seconds:5.0f} s", flush=True)
    for (model, budget, kind), found in rows.items():
        scores, backs = ([100 * value for value in column] for column in zip(*found))
        spread = f" ({min(scores):.1f} to {max(scores):.1f})" if len(scores) > 1 else ""
        print(f"{model}, {budget}, {kind}: mean of {len(scores)}: {statistics.mean(scores):.1f} %{spread}, given back {statistics.mean(backs):.0f} %")


if __name__ == "__main__":
    main()
