"""yopo.calibrate, plan and export of the installed package: the command's bytes and messages, arrays, Ctrl-C, the torch around them."""
import ast
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import torch_cpu  # noqa: F401  (before torch)
import h5py
import numpy
import torch

from package_wheel import SITE, clean_environment, install_pure
from support import CALIB, MODEL, ROOT, Case, run

SAMPLES = 12
KEEP = {"updates_keep": 0.25, "ffn_keep": 0.25, "ffn_scope": "model", "window": 3, "window_causal": True, "visual_layers": 10}
FLAGS = ["--updates-keep", 0.25, "--ffn-keep", 0.25, "--ffn-scope", "model", "--window", 3, "--window-causal", "--visual-layers", 10]


def setUpModule():
    """One installation for all tests, imported into this process."""
    global yopo, HOME, PYTHON, STATS
    HOME = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
    unittest.addModuleCleanup(shutil.rmtree, HOME, ignore_errors=True)
    PYTHON = clean_environment(HOME)
    sys.path.insert(0, str(HOME / "venv" / SITE))
    import yopo
    STATS = HOME / "stats.h5"
    done = run("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", SAMPLES, "--output", STATS, "--quiet")
    assert done.returncode == 0, done.stderr


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class BindingsTest(Case):
    def calibrate(self, name="own.h5", **arguments):
        return yopo.calibrate(MODEL, CALIB.questions, CALIB.images, self.folder / name, **{"samples": SAMPLES, "progress": False, **arguments})

    def test_the_commands_bytes(self):
        statistics = self.calibrate()
        self.assertEqual(statistics.path.read_bytes(), STATS.read_bytes())
        self.yopo("plan", "--stats", STATS, "--model", MODEL, *FLAGS, "--output", self.folder / "plan.json")
        expected = (self.folder / "plan.json").read_bytes()
        for given in (KEEP, {"updates": {"keep": 0.25}, "ffn": {"keep": numpy.float64(0.25), "scope": "model"},
                             "window": {"size": numpy.int64(3), "causal": True}, "visual_layers": 10}):
            plan = yopo.plan(statistics, progress=False, **given)
            self.assertEqual(plan.path.read_bytes(), expected)
            self.assertEqual(plan.save(self.folder / "saved.json").read_bytes(), expected)
        # A count and a fraction are different things, as they are in a recipe.
        self.assertEqual(yopo.plan(STATS, model=MODEL, ffn_keep=1).report["layers"][0]["neurons"], 1)
        self.assertEqual(yopo.plan(STATS, model=MODEL, ffn_keep=1.0).flops["exact_visual"]["kept"], 1)
        told = self.yopo_json("export", "--model", MODEL, "--plan", self.folder / "plan.json", "--output", self.folder / "theirs", "--shard-size", "4MB")
        made = yopo.export(MODEL, plan, self.folder / "ours", shard_size="4MB", progress=False)
        self.assertEqual(files_of(self.folder / "ours"), files_of(self.folder / "theirs"))
        self.assertEqual((made.copied, made.derived), (told["copied"], told["derived"]))
        self.assertEqual(made.left_out, [(one["path"], one["why"]) for one in told["not_copied"]])
        self.assertIn("ExportReport", repr(made))

    def test_arrays(self):
        statistics = yopo.Statistics(STATS)
        names = {"sample_ratios": "ratio", "rows": "rows", "abs_sum": "abs_sum", "square_sum": "square_sum", "active": "active", "column_norm": "column_norm"}
        with h5py.File(STATS) as file:
            stored = {path.rsplit("/")[-1]: node[()] for path, node in self.datasets(file)}
        kept = {name: getattr(statistics, name) for name in names}
        layers, heads, neurons = statistics.layers, statistics.heads, statistics.neurons
        ratios = statistics.ratios
        self.assertEqual((statistics.samples, len(statistics.ids)), (SAMPLES, SAMPLES))
        scores = statistics.neuron_scores("mean_abs")
        del statistics  # arrays outlive it
        self.assertEqual(kept["sample_ratios"].shape, (SAMPLES, layers, heads))
        self.assertEqual(kept["abs_sum"].shape, (layers, neurons))
        for name, array in kept.items():
            numpy.testing.assert_array_equal(array, stored[names[name]], err_msg=name)
            self.assertFalse(array.flags.writeable, name)
        numpy.testing.assert_allclose(ratios, stored["ratio"].mean(axis=0), rtol=1e-12)
        numpy.testing.assert_allclose(scores, stored["abs_sum"] / stored["rows"][:, None], rtol=1e-12)

    def datasets(self, file):
        found = []
        file.visititems(lambda path, node: found.append((path, node)) if isinstance(node, h5py.Dataset) else None)
        return found

    def test_plans_say_what_they_keep(self):
        plan = yopo.plan(STATS, model=MODEL, **KEEP)
        shown = self.yopo("inspect", plan.path, "--model", MODEL)
        self.assertEqual(repr(plan), f"ChosenPlan({str(plan.path)!r})\n{shown.stdout.rstrip()}")
        self.assertEqual(plan.report, self.yopo_json("inspect", plan.path, "--model", MODEL)["report"])
        self.assertEqual(plan.flops, plan.report["flops"])
        self.assertEqual(sum(layer.alive for layer in plan.layers), 10)
        self.assertEqual([int(row.sum()) for row in plan.updates][:10], [layer["updates"] for layer in plan.report["layers"]][:10])
        path = plan.path
        del plan  # with the folder that it made for itself
        self.assertFalse(path.exists())
        text = repr(yopo.Statistics(STATS))
        self.assertIn(f"{SAMPLES} samples, 11 layers", text)
        self.assertLessEqual(len(text.splitlines()), 4)
        least = self.yopo_json("inspect", STATS)["mean_ratio"]
        layer, head = numpy.unravel_index(numpy.argmin(least), numpy.shape(least))
        self.assertIn(f"looking least: layer {layer} head {head} ", text)

    def test_errors_are_the_commands(self):
        (self.folder / "other.json").write_text("{}")
        absent = self.folder / "absent"
        for act, command in [
            (lambda: yopo.calibrate(absent, CALIB.questions, CALIB.images, self.folder / "s.h5"), ["calibrate", "--model", absent, *CALIB.flags(), "--output", self.folder / "s.h5"]),
            (lambda: yopo.calibrate(MODEL, absent, CALIB.images, self.folder / "s.h5"), ["calibrate", "--model", MODEL, "--questions", absent, "--images", CALIB.images, "--output", self.folder / "s.h5"]),
            (lambda: repr(yopo.Statistics(absent)), ["plan", "--model", MODEL, "--stats", absent, "--ffn-keep", 0.5, "--output", self.folder / "p.json"]),
            (lambda: yopo.export(MODEL, self.folder / "other.json", self.folder / "pruned"), ["export", "--model", MODEL, "--plan", self.folder / "other.json", "--output", self.folder / "pruned"]),
        ]:
            with self.assertRaises(yopo.Error) as raised:
                act()
            self.assertIsInstance(raised.exception, ValueError)
            self.assertEqual(f"yopo: {raised.exception}", run(*command).stderr.strip())
        tempfile.tempdir = str(self.folder)
        self.addCleanup(setattr, tempfile, "tempdir", None)
        for keep, words in [({"fnn_keep": 0.5}, "unknown key"), ({"ffn": {"kep": 0.5}}, "did you mean 'keep'"), ({"ffn_keep": 1.5}, "1.5"), ({"budget": 0.5}, "questions=")]:
            with self.assertRaisesRegex(yopo.Error, re.escape(words)):
                yopo.plan(STATS, model=MODEL, **keep)
        self.assertEqual(list(self.folder.glob("yopo-plan-*")), [])
        with self.assertRaisesRegex(yopo.Error, "give model="):
            yopo.plan(STATS, ffn_keep=0.5)
        self.assertTrue(issubclass(yopo.PlanError, yopo.Error))

    def test_a_recipe_and_a_budget(self):
        """A search with little to search, as the command makes it from a recipe."""
        recipe = self.folder / "recipe.yaml"
        search = {"search.evaluations": 6, "search.samples": 6, "search.questions": 1}
        recipe.write_text(f"model: {MODEL}\noutput: {self.folder / 'run'}\ncalibration: {{dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: {SAMPLES}}}}}\n"
                          "plan: {budget: 0.3}\n")
        sets = [word for key, value in search.items() for word in ("--set", f"{key}={value}")]
        for folder in ("theirs", "ours", "recipes"):
            (self.folder / folder).mkdir()
        self.yopo("plan", recipe, *sets, "--stats", STATS, "--output", self.folder / "theirs/plan.json")
        expected = files_of(self.folder / "theirs")
        statistics = yopo.Statistics(STATS, model=MODEL, samples_from={"questions": CALIB.questions, "images": CALIB.images})
        heard = []
        plan = yopo.plan(statistics, budget=0.3, output=self.folder / "ours/plan.json", progress=heard.append, samples=6,
                         settings={key: value for key, value in search.items() if key != "search.samples"})
        self.assertTrue(heard)
        for name in ("plan.json", "plan.safetensors", "headmask.npy"):
            self.assertEqual((self.folder / "ours" / name).read_bytes(), expected[name], name)
        self.assertLess(abs(plan.flops["exact_visual"]["kept"] - 0.3), 0.05)
        self.assertEqual(plan.save(self.folder / "recipes/plan.json").with_suffix(".safetensors").read_bytes(), expected["plan.safetensors"])
        shutil.copy(STATS, self.yopo_recipe_folder() / "stats.h5")
        of_recipe = yopo.plan(recipe, settings={**search, "output": str(self.folder / "own")}, progress=False)
        self.assertEqual(of_recipe.path, self.folder / "own/plan.json")
        self.assertEqual(of_recipe.path.read_bytes(), expected["plan.json"])

    def yopo_recipe_folder(self):
        folder = self.folder / "own"
        folder.mkdir()
        return folder

    def test_progress_and_threads(self):
        """Reports come in order; others run meanwhile; what a listener throws ends the call; torch's threads stay what they were."""
        reports, counted, done = [], [0], threading.Event()

        def count():
            while not done.is_set():
                counted[0] += 1
                time.sleep(0.001)

        other = threading.Thread(target=count)
        other.start()
        before, threads = counted[0], torch.get_num_threads()
        self.calibrate(samples=40, threads=1, progress=reports.append)
        during = counted[0] - before
        done.set()
        other.join()
        self.assertGreater(during, 5)  # the interpreter was free
        self.assertEqual(torch.get_num_threads(), threads)
        self.assertEqual([report.done for report in reports], sorted(report.done for report in reports))
        self.assertEqual((reports[-1].done, reports[-1].total, reports[-1].unit, reports[-1].finished), (40, 40, "samples", True))

        def fail(report):
            raise LookupError("enough")

        with self.assertRaisesRegex(LookupError, "enough"):
            self.calibrate("stopped.h5", samples=40, progress=fail)
        self.assertFalse((self.folder / "stopped.h5").exists())

    def test_two_at_once(self):
        failures = []

        def work(name):
            try:
                self.calibrate(name)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(f"{i}.h5",)) for i in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        self.assertEqual(failures, [])
        for i in range(2):
            self.assertEqual((self.folder / f"{i}.h5").read_bytes(), STATS.read_bytes())

    def python(self, code, **options):
        """The finished process of the environment's Python."""
        before = f"import sys; sys.path.insert(0, {str(ROOT / 'tests/python')!r}); import torch_cpu\n"
        return subprocess.run([PYTHON, "-B", "-c", before + code], capture_output=True, text=True, timeout=600, cwd=self.folder, **options)

    def test_ctrl_c_and_on(self):
        """Ctrl-C ends the call before its end, and the same call then gives the bytes of one undisturbed run; Python's own handlers are in force throughout."""
        output, samples = self.folder / "own.h5", 60
        code = f"""
import os, signal, time, yopo
handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
def calibrate(progress):
    return yopo.calibrate({str(MODEL)!r}, {str(CALIB.questions)!r}, {str(CALIB.images)!r}, {str(output)!r}, samples={samples}, progress=progress)
asked = []
def ask(report):
    if 0 < report.done < {samples} and not asked:
        asked.append(report)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # the work waits for its listener, and Python answers meanwhile
try:
    calibrate(ask)
    print("went on")
except KeyboardInterrupt:
    print("interrupted", os.path.exists({str(output)!r}))
calibrate(False)
assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
"""
        done = self.python(code)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "interrupted False\n", done.stderr)
        self.yopo("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", samples, "--output", self.folder / "theirs.h5", "--quiet")
        self.assertEqual(output.read_bytes(), (self.folder / "theirs.h5").read_bytes())

    def test_one_torch(self):
        """The module brings no second LibTorch, shows no symbol but its entry point, and leaves torch's results alone."""
        module, = (HOME / "venv" / SITE / "yopo").glob("_native*.so")
        symbols = subprocess.run(["nm", "-D", "--defined-only", module], capture_output=True, text=True, check=True).stdout.splitlines()
        shown = {line.split()[2] for line in symbols} - {"_end", "_edata", "__bss_start"}
        # Templates of the C++ library and nanobind's exception, which are everybody's.
        self.assertEqual({name for name in shown if not re.match(r"_Z(T[ISV]|NK?)?(S|\d*nanobind|N8nanobind|NSt)", name)}, {"PyInit__native"})
        done = self.python(f"""
import re, torch, yopo
torch.manual_seed(0)
layer, picture = torch.nn.Conv2d(8, 8, 3), torch.rand(2, 8, 32, 32)
before = layer(picture), layer.bfloat16()(picture.bfloat16()), torch.linalg.inv(picture[0])
yopo.calibrate({str(MODEL)!r}, {str(CALIB.questions)!r}, {str(CALIB.images)!r}, "own.h5", samples=4, progress=False)
after = layer.float()(picture), layer.bfloat16()(picture.bfloat16()), torch.linalg.inv(picture[0])
print(len({{line.split()[-1] for line in open("/proc/self/maps") if "libtorch_cpu" in line}}), torch.equal(before[1], after[1]), torch.equal(before[2], after[2]),
      torch.is_grad_enabled())
""")
        self.assertEqual(done.stdout, "1 True True True\n", done.stderr)

    def test_what_does_not_fit_is_an_import_error(self):
        """Never a crash: another release of torch, another Python, no module, a module that cannot be loaded."""
        installed = HOME / "venv" / SITE / "yopo"
        for change, words in [
            (lambda made: made.update(torch="2.5.1"), r"was compiled with LibTorch 2\.5\.1, and torch here is 2\."),
            (lambda made: made.update(python="3.8"), "is for Python 3.8, and this is Python 3"),
        ]:
            site = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
            shutil.copytree(installed, site / "yopo")
            made = json.loads((site / "yopo/_native.json").read_text())
            change(made)
            (site / "yopo/_native.json").write_text(json.dumps(made))
            self.refused(site, words)
        shutil.copytree(installed, self.folder / "broken/yopo")
        module, = (self.folder / "broken/yopo").glob("_native*.so")
        module.write_bytes(b"no library")
        self.refused(self.folder / "broken", "cannot be loaded")
        self.refused(install_pure(self.folder), "installed without its compiled module")

    def refused(self, site, words):
        code = f"import sys; sys.path.insert(0, {str(site)!r})\nimport yopo\ntry:\n    yopo.calibrate('m', 'q', 'i', 'o')\nexcept ImportError as error:\n    print(error)\n"
        done = self.python(code)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, words)
        self.assertIn("pip install", done.stdout)

    def test_the_stub_names_what_there_is(self):
        native = yopo.native.native()
        stub = ast.parse((ROOT / "python/yopo/_native.pyi").read_text())
        named = {node.name: node for node in stub.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        public = lambda thing: {name for name in dir(thing) if not name.startswith("_")}  # noqa: E731
        self.assertEqual(set(named), public(native))
        methods = {node.name for node in named["StatisticsFile"].body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")}
        self.assertEqual(methods, public(native.StatisticsFile))
        for name, node in named.items():
            if isinstance(node, ast.FunctionDef):
                arguments = [argument.arg for argument in node.args.args]
                signature = getattr(native, name).__doc__.splitlines()[0]
                self.assertEqual(re.findall(r"(\w+): ", signature), arguments, signature)


if __name__ == "__main__":
    unittest.main()
