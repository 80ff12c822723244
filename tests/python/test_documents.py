"""The Python lines of the documents run as they stand, in the root of a tree after `make demo`, and say what the command says."""
import re
import subprocess
import sys
import unittest

from support import CALIB, MODEL, ROOT, TEST, Case

DOCUMENTS = {"README.md": 1, "docs/using-a-pruned-model.md": 1, "python/README.md": 1}  # and how many blocks each has


def blocks(name):
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)


class DocumentsTest(Case):
    def setUp(self):
        super().setUp()
        demo = self.folder / "out/demo"
        demo.mkdir(parents=True)
        (self.folder / "examples").symlink_to(ROOT / "examples")
        self.yopo("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 10, "--output", demo / "stats.h5", "--quiet")
        self.yopo("plan", "--stats", demo / "stats.h5", "--model", MODEL, "--updates-keep", 0.25, "--ffn-keep", 0.25, "--window", 5, "--output", demo / "plan.json")
        self.yopo("export", "--model", MODEL, "--plan", demo / "plan.json", "--output", demo / "pruned")

    def run_block(self, block):
        """What it printed. The package and torch are those of this tree, as if they were installed."""
        code = f"import yopo_package, yopo.transformers\nexec(compile({block!r}, 'block', 'exec'))\nassert yopo.transformers.is_applied(model)\n"
        done = subprocess.run([sys.executable, "-B", "-c", f"import sys; sys.path.insert(0, {str(ROOT / 'tests/python')!r})\n{code}"], cwd=self.folder,
                              capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, block + done.stderr)
        return done.stdout

    def test_python_lines(self):
        for name, count in DOCUMENTS.items():
            found = blocks(name)
            self.assertEqual(len(found), count, name)
            for block in found:
                with self.subTest(name):
                    printed = self.run_block(block)
                    if "generate" in block:
                        said = self.yopo("generate", "--model", "out/demo/pruned", "--image", TEST.images / "0000.png", "--prompt",
                                         "How many digits are there?", cwd=self.folder).stdout
                        self.assertEqual(printed.strip(), said.strip())
                        self.assertTrue(printed.strip())


if __name__ == "__main__":
    unittest.main()
