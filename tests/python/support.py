"""What the Python tests share: the command, its data, and a test case with a folder of its own."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
YOPO = pathlib.Path(os.environ.get("YOPO_COMMAND", ROOT / "build" / "release" / "yopo"))
DIGITGRID = ROOT / "examples" / "digitgrid"
MODEL = DIGITGRID / "model"
TOWER = DIGITGRID / "model_tower"


def plan_columns(path):
    """A plan.json by kind of saving: heads, updates [L][H], neurons [L] (None: all), windows [L] (None: none), visual_layers."""
    layers = json.loads(pathlib.Path(path).read_text())["layers"]
    return {"heads": [layer["heads"] for layer in layers], "updates": [layer.get("updates", layer["heads"]) for layer in layers],
            "neurons": [layer.get("neurons") for layer in layers], "windows": [layer.get("window") for layer in layers],
            "visual_layers": sum(layer.get("alive", True) for layer in layers)}


class Data:
    """A question file with its images."""

    def __init__(self, folder):
        self.questions = DIGITGRID / "data" / folder / "questions.jsonl"
        self.images = DIGITGRID / "data" / folder / "images"

    def flags(self):
        return ["--questions", self.questions, "--images", self.images]

    def samples(self):
        with open(self.questions) as file:
            return [json.loads(line) for line in file if line.strip()]


CALIB = Data("calib")
TEST = Data("test")


def command(*arguments):
    return [str(YOPO), *map(str, arguments)]


def run(*arguments, **options):
    """Runs `yopo ARGUMENTS` in the repository root; the result has returncode, stdout and stderr as text."""
    options.setdefault("cwd", ROOT)
    options.setdefault("timeout", 600)
    return subprocess.run(command(*arguments), capture_output=True, text=True, errors="replace", **options)


class Case(unittest.TestCase):
    """A test with a fresh folder, `self.folder`, that is removed after it."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def yopo(self, *arguments, **options):
        """Runs the command and fails the test unless it exits with 0."""
        result = run(*arguments, **options)
        if result.returncode != 0:
            self.fail(f"yopo {' '.join(map(str, arguments))}: exit code {result.returncode}\n{result.stdout}{result.stderr}")
        return result

    def yopo_json(self, *arguments, **options):
        """The same with --json; the document printed."""
        return json.loads(self.yopo(*arguments, "--json", **options).stdout)
