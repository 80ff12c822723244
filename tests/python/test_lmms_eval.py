"""lmms-eval's own command with the model `yopo`: the demo's questions as tasks of its kind get the scores of `yopo eval`, under the
plan that was asked for, and never those of a dense model that nobody asked for."""
import atexit
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

from package_wheel import install_pure
from support import CALIB, DIGITGRID, MODEL, ROOT, TEST, Case, run

BENCHMARKS = DIGITGRID / "data" / "benchmarks"
POPE = ["--benchmark", "pope", "--questions", BENCHMARKS / "pope/llava_pope_test.jsonl",
        "--annotations", ",".join(map(str, sorted((BENCHMARKS / "pope/coco").glob("*.json"))))]
VQAV2 = ["--benchmark", "vqav2", "--questions", BENCHMARKS / "vqav2/llava_vqav2_digitgrid_val.jsonl",
         "--annotations", BENCHMARKS / "vqav2/v2_digitgrid_val_annotations.json"]
# lmms-eval under the stand-ins for torch's CUDA libraries, as `python -m lmms_eval`.
LMMS_EVAL = "import torch_cpu, runpy; runpy.run_module('lmms_eval', run_name='__main__', alter_sys=True)"
BUDGETS = ("0.5", "0.12")
RECIPE = f"""
model: {{path: {MODEL}}}
output: OUT
calibration:
  dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: 20}}
plan: {{budget: 0.5}}
export: {{budgets: [0.5, 0.12]}}
search: {{evaluations: 4, samples: 8, questions: 2}}
"""
SHARED = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
atexit.register(shutil.rmtree, SHARED, ignore_errors=True)


@functools.cache
def elastic():
    """A checkpoint with plans for two budgets."""
    recipe = SHARED / "recipe.yaml"
    recipe.write_text(RECIPE.replace("OUT", str(SHARED / "out")))
    done = run("run", recipe, "--quiet")
    assert done.returncode == 0, done.stderr
    return SHARED / "out/pruned"


@functools.cache
def environment():
    """The package is installed, not on a path: lmms-eval finds the model by its entry point."""
    places = [pathlib.Path(sys.prefix) / "lmms_eval", install_pure(SHARED), ROOT / "tests/python"]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), "HF_HOME": str(SHARED / "hf"), "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def python(code, *arguments):
    return subprocess.run([sys.executable, "-B", "-c", code, *map(str, arguments)], cwd=ROOT, env=environment(), capture_output=True, text=True,
                          errors="replace", timeout=900)


class LmmsEval(Case):
    def evaluate(self, model_args, tasks, *flags):
        """lmms-eval's printed text, its results by task, and its answers by task and question."""
        output = self.folder / f"out-{len(list(self.folder.iterdir()))}"
        done = python(LMMS_EVAL, "--model", "yopo", "--model_args", model_args, "--tasks", tasks, "--include_path", DIGITGRID / "lmms_tasks",
                      "--batch_size", 25, "--device", "cpu", "--output_path", output, "--log_samples", *flags)
        results = [json.loads(path.read_text())["results"] for path in output.rglob("*_results.json")]
        answers = {}
        for path in output.rglob("*_samples_*.jsonl"):
            for line in path.read_text().splitlines():
                row = json.loads(line)
                answers[path.stem.split("_samples_")[1], row["doc_id"]] = row["filtered_resps"]
        return done.stdout + done.stderr, results[0] if results else None, answers

    def own(self, benchmark, budget):
        """The scores of `yopo eval --protocol lmms`, in lmms-eval's file, and the answers in the order of the questions."""
        folder = self.folder / f"own-{benchmark[1]}"
        self.yopo("eval", "--model", elastic(), "--budget", budget, *benchmark, "--images", TEST.images, "--protocol", "lmms", "--dtype", "fp32",
                  "--batch-size", 25, "--quiet", "--output", folder, "--lmms", folder / "lmms", "--date", "20260131_235959")
        answers = [json.loads(line) for line in (folder / "answers" / f"{benchmark[1]}-pruned-{budget}.jsonl").read_text().splitlines()]
        result, = json.loads((folder / "lmms/20260131_235959_results.json").read_text())["results"].values()
        return result, answers

    def test_scores_are_those_of_yopo_eval(self):
        said, results, answers = self.evaluate(f"pretrained={elastic()},budget=0.12,dtype=float32", "digitgrid_pope,digitgrid_vqav2")
        self.assertIsNotNone(results, said)
        for task, benchmark, metrics in (
                ("digitgrid_pope", POPE, ["pope_accuracy", "pope_precision", "pope_recall", "pope_f1_score", "pope_yes_ratio"]),
                ("digitgrid_vqav2", VQAV2, ["exact_match"])):
            expected, rows = self.own(benchmark, "0.12")
            for metric in metrics:
                found = results[task][f"{metric},none"]
                self.assertTrue(abs(found - expected[f"{metric},none"]) <= 1e-12, f"{task} {metric}: {found} is not {expected[f'{metric},none']}")
            self.assertEqual(len([key for key in answers if key[0] == task]), len(rows))
            if benchmark is VQAV2:  # whose task has the questions in the order of the file
                self.assertEqual([answers[task, k].strip() for k in range(len(rows))], [row["text"] for row in rows])
        # The other budget, the checkpoint's default, is another plan.
        other, _ = self.own(POPE, "0.5")
        self.assertGreater(other["pope_accuracy,none"], results["digitgrid_pope"]["pope_accuracy,none"] + 0.05)
        said, results, _ = self.evaluate(f"pretrained={elastic()},dtype=float32", "digitgrid_pope")
        self.assertIsNotNone(results, said)
        self.assertAlmostEqual(results["digitgrid_pope"]["pope_accuracy,none"], other["pope_accuracy,none"], delta=1e-12)

    def test_a_checkpoint_without_a_plan_gets_no_score(self):
        said, results, _ = self.evaluate(f"pretrained={MODEL},dtype=float32", "digitgrid_pope", "--limit", 2)
        self.assertIsNone(results)
        self.assertIn("""no "yopo" object, so this checkpoint has no plan; `yopo export` writes one""", said)

    def test_model_arguments(self):
        code = """
import sys, torch_cpu, yopo.transformers
from lmms_eval.models import get_model
from yopo import PlanError
make, path = get_model("yopo"), sys.argv[1]
print(yopo.transformers.plan_in_use(make(path, budget=0.12).model).budget, yopo.transformers.plan_in_use(make(path, device="cpu").model).budget)
print(yopo.transformers.is_applied(make(path, dense=True).model))
for arguments in ({"budget": 0.3}, {"budget": 0.5, "dense": True}, {"batch_size": "auto"}):
    try:
        make(path, **arguments)
        print("taken:", arguments)
    except PlanError as error:
        print(error)
"""
        done = python(code, elastic())
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = done.stdout.splitlines()
        self.assertEqual(lines[:2], ["0.12 0.5", "False"])
        for line, naming in zip(lines[2:], ("no plan for budget 0.3; there are 0.5, 0.12", "give one of them", "found auto"), strict=True):
            self.assertIn(naming, line)


if __name__ == "__main__":
    unittest.main()
