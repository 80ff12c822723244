#!/usr/bin/env python3
"""The demo's models at several budgets: accuracy on the test questions, which neither calibration nor search sees.

    python3 benchmarks/budgets.py --output out/budgets
    python3 benchmarks/budgets.py --output out/budgets --budgets 0.25 --models model --set compensate=none

Each line is one `yopo run` of configs/demo.yaml or configs/demo_tower.yaml with another plan.budget. The interval is a
paired bootstrap over questions of pruned / dense (2,000 draws). A finished run is not made again.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
YOPO = pathlib.Path(os.environ.get("YOPO_COMMAND", ROOT / "build" / "release" / "yopo"))
RECIPES = {"model": "configs/demo.yaml", "model_tower": "configs/demo_tower.yaml"}
BUDGETS = (0.5, 0.33, 0.25, 0.175, 0.12, 0.06)


def answers(path):
    """question_id -> text of an answers file."""
    with open(path) as lines:
        return {str(record["question_id"]): record["text"] for record in map(json.loads, lines)}


def correct(folder, pruned):
    """1 or 0 for each test question, in the order of the ids; checked against the score that yopo gave."""
    found = answers(folder / "answers" / f"vqa-{'pruned' if pruned else 'dense'}.jsonl")
    expected = answers(ROOT / "examples/digitgrid/data/test/answers.jsonl")
    scores = [int(found[name].strip().lower() == text.strip().lower()) for name, text in sorted(expected.items())]
    result = next(r for r in json.loads((folder / "eval.json").read_text())["results"] if r["pruned"] == pruned)
    assert abs(result["score"] - sum(scores) / len(scores)) < 1e-9, (result["score"], sum(scores) / len(scores))
    return scores


def interval(dense, pruned, draws=2000):
    chance = random.Random(0)
    ratios = []
    for _ in range(draws):
        picked = chance.choices(range(len(dense)), k=len(dense))
        ratios.append(sum(pruned[i] for i in picked) / sum(dense[i] for i in picked))
    ratios.sort()
    return ratios[draws // 40], ratios[-draws // 40 - 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--models", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--budgets", nargs="+", type=float, default=BUDGETS)
    parser.add_argument("--set", action="append", default=[], help="further settings of the recipe")
    options = parser.parse_args()
    print(f"{'model':12} {'budget':>7} {'counted':>8} {'dense':>7} {'pruned':>7} {'kept':>7}  95 % interval      search")
    for model in options.models:
        for budget in options.budgets:
            folder = options.output / f"{model}-{budget}"
            settings = [f"plan.budget={budget}", f"output={folder}", "evaluate.0.batch_size=50", *options.set]
            start = time.monotonic()
            arguments = [word for setting in settings for word in ("--set", setting)]
            recipe = folder.parent / f"{model}.yaml"
            recipe.parent.mkdir(parents=True, exist_ok=True)
            # Of the benchmarks the first alone: all questions.
            text = (ROOT / RECIPES[model]).read_text()
            recipe.write_text(text[:text.index("  # The same questions through")])
            run = subprocess.run([YOPO, "run", recipe, *arguments, "--json", "--quiet"], cwd=ROOT,
                                 capture_output=True, text=True)
            if run.returncode != 0:
                raise SystemExit(run.stderr)
            seconds = time.monotonic() - start
            comparison = json.loads(run.stdout)["comparison"]
            counted = comparison["pruned"]["visual_flops"] / comparison["dense"]["visual_flops"]
            dense, pruned = correct(folder, False), correct(folder, True)
            low, high = interval(dense, pruned)
            print(f"{model:12} {budget:7} {100 * counted:7.2f}% {sum(dense) / 10:6.1f}% {sum(pruned) / 10:6.1f}% "
                  f"{100 * sum(pruned) / sum(dense):6.1f}%  {100 * low:5.1f} to {100 * high:5.1f} %  {seconds:5.0f} s", flush=True)


if __name__ == "__main__":
    main()
