"""A test case for input that the command must refuse."""
import atexit
import hashlib
import pathlib
import shutil
import tempfile

from support import CALIB, MODEL, TEST, Case, run

IMAGE = TEST.images / "0000.png"
SHARED = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
atexit.register(shutil.rmtree, SHARED, ignore_errors=True)


def contents(folder):
    """Path -> hash of everything below `folder`; locks are no content."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
            for path in sorted(folder.rglob("*")) if path.name != ".lock"}


class BadInput(Case):
    def refused(self, *arguments, naming, may_leave=(), **options):
        """The command must exit with 2 and one message that holds every text of `naming`, and change no file; new files
        are allowed only if whole and named in `may_leave`."""
        before = contents(self.folder)
        result = run(*arguments, "--quiet", **options)
        shown = f"yopo {' '.join(map(str, arguments))}\nexit code {result.returncode}\n{result.stderr}"
        self.assertEqual(result.returncode, 2, shown)
        self.assertTrue(result.stderr.startswith("yopo: "), shown)
        self.assertEqual(result.stderr.count("\n"), 1, f"not one line: {shown}")
        self.assertLess(len(result.stderr), 1000, shown)
        self.assertEqual(result.stdout, "", shown)
        for text in naming:
            self.assertIn(str(text), result.stderr, shown)
        after = contents(self.folder)
        self.assertEqual({name: after.get(name) for name in before}, before, f"changed or removed files: {shown}")
        extra = {name for name in after if name not in before and pathlib.Path(name).name not in may_leave}
        self.assertFalse(extra, f"left behind: {shown}")
        return result

    def generate(self, model):
        return ["generate", "--model", model, "--image", IMAGE, "--prompt", "Is there a 6 in the image?", "--max-new-tokens", 2]

    def stats(self, model=MODEL):
        """Good statistics of a model, made once for all tests."""
        file = SHARED / f"{model.name}.h5"
        if not file.exists():
            self.yopo("calibrate", "--model", model, *CALIB.flags(), "--samples", 4, "--output", file)
        return file

    def random_plan(self):
        """A plan for any checkpoint of the model's sizes, made once for all tests."""
        file = SHARED / "random.json"
        if not file.exists():
            self.yopo("plan", "--model", MODEL, "--ffn-keep", "0.25", "--random", 1, "--output", file)
        return file

    def plan(self, model=MODEL):
        """A good plan of a model, made once for all tests."""
        file = SHARED / f"{model.name}.json"
        if not file.exists():
            self.yopo("plan", "--stats", self.stats(model), "--model", model, "--ffn-keep", "0.25", "--output", file)
        return file
