"""After `pip install ./python` in a clean environment: the Python lines of the documents run as they stand, in the root of a tree after
`make demo`, and say what the command says; and examples/notebook.ipynb gives what is in it."""
import base64
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

from package_wheel import clean_environment
from support import CALIB, MODEL, ROOT, TEST, Case

DOCUMENTS = {"README.md": 2, "docs/using-a-pruned-model.md": 3, "python/README.md": 2}  # and how many blocks each has
NOTEBOOK = ROOT / "examples/notebook.ipynb"


def setUpModule():
    global PYTHON
    home = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
    unittest.addModuleCleanup(shutil.rmtree, home, ignore_errors=True)
    PYTHON = clean_environment(home)


def blocks(name):
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)


class DocumentsTest(Case):
    def python(self, code, folder):
        """What it printed in the environment, whose torch may need help to be imported."""
        done = subprocess.run([PYTHON, "-B", "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'tests/python')!r}); import torch_cpu\n{code}"], cwd=folder,
                              capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, code + done.stderr)
        return done.stdout

    def demo(self):
        demo = self.folder / "out/demo"
        demo.mkdir(parents=True)
        self.yopo("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 10, "--output", demo / "stats.h5", "--quiet")
        self.yopo("plan", "--stats", demo / "stats.h5", "--model", MODEL, "--updates-keep", 0.25, "--ffn-keep", 0.25, "--window", 5, "--output", demo / "plan.json")
        self.yopo("export", "--model", MODEL, "--plan", demo / "plan.json", "--output", demo / "pruned")
        self.yopo("export", "--model", MODEL, "--plan", demo / "plan.json", "--output", demo / "with-code", "--transformers-code")

    def test_python_lines(self):
        self.demo()
        (self.folder / "examples").symlink_to(ROOT / "examples")
        for name, count in DOCUMENTS.items():
            found = blocks(name)
            self.assertEqual(len(found), count, name)
            for block in found:
                with self.subTest(name):
                    loads = "yopo.transformers.load" in block or "trust_remote_code" in block
                    pruned = "import yopo.transformers\nassert yopo.transformers.is_applied(model)\n" if loads else ""
                    printed = self.python(f"exec(compile({block!r}, 'block', 'exec'))\n" + pruned, self.folder)
                    if "generate" in block:
                        said = self.yopo("generate", "--model", "out/demo/pruned", "--image", TEST.images / "0000.png", "--prompt",
                                         "How many digits are there?", cwd=self.folder).stdout
                        self.assertEqual(printed.strip(), said.strip())
                        self.assertTrue(printed.strip())
                    if "yopo.calibrate" in block:
                        self.yopo("inspect", self.folder / "pruned")
                        shutil.rmtree(self.folder / "pruned")

    def test_notebook(self):
        """Its cells, one after the other in one namespace, give the outputs that it holds; the map is of the ratios."""
        examples = self.folder / "examples"
        examples.mkdir()
        (examples / "digitgrid").symlink_to(ROOT / "examples/digitgrid")
        self.python(f"""
import json, sys
sys.path.insert(0, {str(ROOT / 'scripts')!r})
import notebook
book, names = json.load(open({str(NOTEBOOK)!r})), {{"__name__": "__main__"}}
json.dump(notebook.run(book, names), open("made.json", "w"))
import numpy
numpy.testing.assert_array_equal(names["image"].get_array(), names["statistics"].ratios)
""", examples)
        held, made = json.loads(NOTEBOOK.read_text()), json.loads((examples / "made.json").read_text())
        self.assertLess(NOTEBOOK.stat().st_size, 100_000)
        pictures = 0
        for index, (own, new) in enumerate(zip(held["cells"], made["cells"], strict=True)):
            if own["cell_type"] != "code":
                continue
            self.assertEqual(own["execution_count"], new["execution_count"])
            self.assertEqual(len(own["outputs"]), len(new["outputs"]), f"cell {index}")
            for was, now in zip(own["outputs"], new["outputs"]):
                if "image/png" in was.get("data", {}):
                    pictures += 1
                    self.assertEqual([base64.b64decode(one["data"]["image/png"])[:8] for one in (was, now)], [b"\x89PNG\r\n\x1a\n"] * 2)
                    continue
                self.same_text(*("".join(one["data"]["text/plain"] if "data" in one else one["text"]) for one in (was, now)))
        self.assertEqual(pictures, 2)
        files = [path.name for path in (self.folder / "out/notebook").iterdir()]
        self.assertEqual(sorted(files), ["plan.json", "pruned", "stats.h5"])

    def same_text(self, was, now):
        """Word for word; a number may differ in its last printed digit by one, as the order of sums does between CPUs."""
        number = r"\d+\.\d+"
        self.assertEqual(re.sub(number, "#", was), re.sub(number, "#", now))
        for one, other in zip(re.findall(number, was), re.findall(number, now)):
            self.assertLess(abs(float(one) - float(other)), 1.5 * 10.0 ** -len(one.split(".")[1]), f"{was}\n{now}")


if __name__ == "__main__":
    unittest.main()
