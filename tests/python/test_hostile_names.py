"""Names out of files reach the terminal escaped, whatever the command and wherever the name stands: an escape sequence can move
the cursor, retitle the window or hide what was said, a mark of direction can make a name read as another."""
import json
import shutil
import unicodedata
import unittest

from checkpoint_files import Weights, copy_checkpoint
from support import CALIB, MODEL, TEST, Case, run

IMAGE = TEST.images / "0000.png"
# ESC, BEL, a newline, C1's CSI, a turn of direction, and a byte that is no UTF-8 (as os.fsdecode has it).
HOSTILE = "\x1b[2J\x07\nyopo: done\u009b31m\u202egnp"
BIDI = set("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def obeyed(text):
    return sorted({character for character in text if unicodedata.category(character) in ("Cc", "Cs") or character in BIDI} - {"\n"})


class HostileNamesTest(Case):
    def said(self, *arguments, code=2, lines=1):
        """What the command says on stderr, which must be harmless."""
        result = run(*arguments)
        shown = f"{arguments}\n{result.returncode}\n{result.stdout!r}\n{result.stderr!r}"
        self.assertEqual(result.returncode, code, shown)
        self.assertEqual(obeyed(result.stderr), [], shown)
        self.assertEqual(obeyed(result.stdout), [], shown)
        if lines is not None:
            self.assertEqual(result.stderr.count("\n"), lines, shown)
        return result.stderr + result.stdout

    def holds_escaped(self, text, *parts):
        for part in parts or ("\\x1b[2J\\x07\\x0ayopo: done\\u009b31m\\u202e",):
            self.assertIn(part, text)

    def questions(self, **changes):
        file = self.folder / "questions.jsonl"
        record = {"question_id": 0, "image": "0000.png", "text": "Is there a 6 in the image?", "answer": "No", **changes}
        file.write_text(json.dumps(record) + "\n")
        return ["--questions", file, "--images", TEST.images]

    def model(self, change=None, weights=None):
        folder = self.folder / "model"
        shutil.rmtree(folder, ignore_errors=True)
        file = copy_checkpoint(MODEL, folder)
        if change:
            config = json.loads((folder / "config.json").read_text())
            change(config)
            (folder / "config.json").write_text(json.dumps(config))
        if weights:
            read = Weights(file)
            weights(read)
            read.write(file)
        return folder

    def test_an_image(self):
        for command in ("calibrate", "eval"):
            with self.subTest(command=command):
                said = self.said(command, "--model", MODEL, *self.questions(image=HOSTILE), "--output", self.folder / "out")
                self.holds_escaped(said)

    def test_an_id(self):
        said = self.said("calibrate", "--model", MODEL, *self.questions(question_id=HOSTILE, image="none.png"), "--output",
                         self.folder / "out", lines=None)
        self.assertIn("none.png", said)
        questions = self.questions(question_id=HOSTILE)
        answers = self.folder / "answers.jsonl"
        answers.write_text(json.dumps({"question_id": HOSTILE + "other", "text": "No"}) + "\n")
        said = self.said("eval", "--benchmark", "vqa", *questions, "--answers", answers, lines=None)
        self.holds_escaped(said)

    def test_a_path(self):
        for path in (self.folder / HOSTILE, str(self.folder / "a") + "\udc9b31m"):
            for arguments in (["inspect", path], ["generate", "--model", path, "--prompt", "x"], ["run", path],
                              ["merge", path, "--output", self.folder / "x"],
                              ["generate", "--model", MODEL, "--image", path, "--prompt", "x"],
                              ["plan", "--stats", path, "--model", MODEL, "--output", self.folder / "p"]):
                with self.subTest(arguments=arguments):
                    self.said(*arguments)

    def test_an_argument(self):
        self.holds_escaped(self.said("calibrate", f"--mod{HOSTILE}"))
        self.holds_escaped(self.said("export", "--model", MODEL, "--plan", "x", "--shard-size", HOSTILE, "--output", "y"))

    def test_an_architecture(self):
        folder = self.model(lambda config: config.update(architectures=["LlavaForConditionalGeneratio\x1bn"]))
        self.holds_escaped(self.said("inspect", folder), "Generatio\\x1bn")

    def test_a_tensor(self):
        def change(weights):
            name = next(iter(weights.tensors()))
            weights.header[HOSTILE + name] = weights.header.pop(name)
        folder = self.model(weights=change)
        for arguments in (["inspect", folder], ["generate", "--model", folder, "--prompt", "x"]):
            self.said(*arguments)

    def test_a_key_near_a_known_one(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text('model:\n  path: x\n"evalu\\eate": 1\n')
        self.holds_escaped(self.said("run", recipe), "evalu\\x1bate")
        recipe.write_text('"mo\\u009bdel": {path: x}\n')
        self.holds_escaped(self.said("run", recipe), "mo\\u009bdel")

    def test_a_result(self):
        """Tables are for people; what is written for programs stays as it is."""
        source = self.folder / HOSTILE
        shutil.copytree(MODEL, source)
        stats = self.folder / "stats.h5"
        self.said("calibrate", "--model", source, *CALIB.flags(), "--samples", 2, "--output", stats, code=0, lines=None)
        plan = self.folder / HOSTILE / "plan.json"
        said = self.said("plan", "--stats", stats, "--model", source, "--ffn-keep", "0.5", "--output", plan, code=0, lines=None)
        self.holds_escaped(said)
        self.said("inspect", plan, "--model", source, code=0, lines=None)
        printed = self.yopo_json("plan", "--stats", stats, "--model", source, "--ffn-keep", "0.5", "--output", plan)
        self.assertEqual(printed["output"], str(plan))


if __name__ == "__main__":
    unittest.main()
