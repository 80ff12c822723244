"""Calibrated heads and neurons against random ones of the same counts, on the demo's test questions.

Everything goes through the yopo command: one calibration, then for each strategy and budget one calibrated plan and one
random plan a seed (`yopo plan --random SEED`: the same counts in every layer, other choices), each scored on the dense
checkpoint with `yopo eval --plan`, nothing exported. Ends with a markdown table; what was scored before is not scored again.

  python3 scripts/random_control.py --output out/random_control
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
DIGITGRID = ROOT / "examples" / "digitgrid"

# What a budget means: the flags that keep this fraction for visual tokens, all else dense.
STRATEGIES = {
    "heads read": lambda keep: ["--heads-keep", keep],
    "heads updated": lambda keep: ["--updates-keep", keep],
    "neurons": lambda keep: ["--ffn-keep", keep, "--ffn-score", "wanda", "--ffn-scope", "model"],
    "heads updated and neurons": lambda keep: ["--updates-keep", keep, "--ffn-keep", keep, "--ffn-score", "wanda", "--ffn-scope",
                                               "model"],
}


class Experiment:
    def __init__(self, options):
        self.options = options
        self.folder = pathlib.Path(options.output)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model = pathlib.Path(options.model)

    def yopo(self, *arguments):
        command = [self.options.yopo, *map(str, arguments), "--json", "--quiet"]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{' '.join(command)}\n{result.stderr}")
        return json.loads(result.stdout)

    def data(self, name):
        folder = pathlib.Path(self.options.data) / name
        return ["--questions", folder / "questions.jsonl", "--images", folder / "images"]

    def calibrate(self):
        self.stats = self.folder / "stats.h5"
        self.yopo("calibrate", "--model", self.model, *self.data("calib"), "--output", self.stats)

    def score(self, name, *flags):
        """(accuracy, fraction of the dense model's visual FLOPs, paper convention) of the plan that `flags` describe."""
        plan, output = self.folder / "plans" / f"{name}.json", self.folder / "eval" / name
        plan.parent.mkdir(exist_ok=True)
        made = self.yopo("plan", "--stats", self.stats, "--model", self.model, *flags, "--output", plan)
        results = self.yopo("eval", "--model", self.model, "--plan", plan, "--benchmark", "vqa", *self.data("test"), "--batch-size",
                            self.options.batch_size, "--output", output)
        print(f"{name}: {results['results'][0]['score']:.4f}", file=sys.stderr)
        return results["results"][0]["score"], made["report"]["flops"]["paper_visual"]["kept"]

    def row(self, strategy, keep):
        flags = STRATEGIES[strategy](keep)
        name = f"{strategy.replace(' ', '_')}-{keep}"
        calibrated, flops = self.score(f"{name}-calibrated", *flags)
        drawn = [self.score(f"{name}-random{seed}", *flags, "--random", seed)[0] for seed in range(self.options.seeds)]
        return {"strategy": strategy, "keep": keep, "flops": flops, "calibrated": calibrated, "random": drawn}


def table(dense, rows):
    lines = [f"Dense: {100 * dense:.1f} %.", "",
             "| kept for visual tokens | visual FLOPs (paper) | calibrated | random, mean ± sd (range) | difference | seeds won |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        drawn = [100 * value for value in row["random"]]
        score, mean = 100 * row["calibrated"], statistics.mean(drawn)
        spread = statistics.stdev(drawn) if len(drawn) > 1 else 0.0
        won = sum(score > value for value in drawn)
        lines.append(f"| {100 * float(row['keep']):g} % of {row['strategy']} | {100 * row['flops']:.1f} % | {score:.1f} % | "
                     f"{mean:.1f} ± {spread:.1f} % ({min(drawn):.1f} to {max(drawn):.1f}) | {score - mean:+.1f} | "
                     f"{won} of {len(drawn)} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--yopo", default=str(ROOT / "build" / "release" / "yopo"))
    parser.add_argument("--model", default=str(DIGITGRID / "model"))
    parser.add_argument("--data", default=str(DIGITGRID / "data"), help="folder with calib/ and test/")
    parser.add_argument("--budgets", nargs="+", default=["0.5", "0.25", "0.125"], help="fractions kept, with a decimal point")
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--output", default="out/random_control")
    experiment = Experiment(parser.parse_args())
    experiment.calibrate()
    dense, _ = experiment.score("dense", "--ffn-keep", "1.0")
    rows = [experiment.row(strategy, keep) for strategy in experiment.options.strategies for keep in experiment.options.budgets]
    text = table(dense, rows)
    (experiment.folder / "table.md").write_text(text)
    (experiment.folder / "rows.json").write_text(json.dumps({"dense": dense, "rows": rows}, indent=2) + "\n")
    print(text)


if __name__ == "__main__":
    main()
