"""What is written: by two processes at once, into a folder that goes away, beside names that somebody else made, with the user's
permissions, and through no link."""
import hashlib
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import time
import unittest

from refusals import BadInput
from support import CALIB, MODEL, TEST, command, run

ROUNDS = int(os.environ.get("YOPO_TEST_WRITERS", "1"))
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive"}


def hashes(path):
    """Path -> hash of all files, or of the one; eval.json holds times."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.name not in ("eval.json", ".lock")}


class WriterCase(BadInput):
    def setUp(self):
        super().setUp()
        self.questions = self.folder / "questions.jsonl"
        self.questions.write_text("".join(json.dumps(sample) + "\n" for sample in TEST.samples()[:12]))
        shutil.copy(TEST.questions.parent / "answers.jsonl", self.folder)

    def work(self, output):
        """Commands by name, and what each writes."""
        model = ["--model", MODEL]
        return {"calibrate": (["calibrate", *model, *CALIB.flags(), "--samples", 6, "--threads", 1, "--output", output / "stats.h5"],
                              output / "stats.h5"),
                "plan": (["plan", *model, "--stats", self.stats(), "--ffn-keep", "0.5", "--output", output / "plan.json"], output / "plan.json"),
                "headmask": (["headmask", "--stats", self.stats(), "--keep", "0.5", "--output", output / "mask.npy"], output / "mask.npy"),
                "merge": (["merge", self.stats(), "--output", output / "merged.h5"], output / "merged.h5"),
                "export": (["export", *model, "--plan", self.plan(), "--output", output / "pruned"], output / "pruned"),
                "eval": (["eval", *model, "--benchmark", "vqa", "--questions", self.questions, "--images", TEST.images, "--threads", 1,
                          "--batch-size", 2, "--output", output / "scores"], output / "scores")}

    def start(self, arguments, **options):
        return subprocess.Popen(command(*arguments, "--quiet"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
                                env=ENVIRONMENT, **options)

    def one_message(self, code, errors, shown):
        self.assertEqual(code, 2, f"{shown}: {errors}")
        self.assertTrue(errors.startswith("yopo: "), f"{shown}: {errors}")
        self.assertEqual(errors.count("\n"), 1, f"{shown}: {errors}")

    def temporaries(self, folder):
        return [str(path) for path in folder.rglob("*") if ".tmp-" in path.name or ".partial-" in path.name]


class TwoWritersTest(WriterCase):
    def test_the_same_output(self):
        right = self.folder / "right"
        for name, (arguments, written) in self.work(right).items():
            self.yopo(*arguments)
            expected = hashes(written)
            for round in range(ROUNDS):
                output = self.folder / f"{name}-{round}"
                both, there = self.work(output)[name]
                processes = [self.start(both) for _ in range(2)]
                ends = [(process.communicate(timeout=120)[1], process.returncode)[::-1] for process in processes]
                shown = f"{name}, round {round}"
                self.assertIn(0, [code for code, _ in ends], f"{shown}: {ends}")
                for code, errors in ends:
                    if code != 0:
                        self.one_message(code, errors, shown)
                self.assertEqual(hashes(there), expected, shown)
                self.assertEqual(self.temporaries(output), [], shown)
                self.yopo(*both, *(["--force"] if False else [])) if name != "export" else None
                self.assertEqual(hashes(there), expected, f"{shown}, again")

    def test_a_recipes_folder(self):
        recipe = self.folder / "recipe.yaml"
        output = self.folder / "out"
        recipe.write_text(f"model: {MODEL}\noutput: {output}\ncalibration: {{dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, "
                          "samples: 4}}\nplan: {ffn: {keep: 0.5}}\n")
        first = self.start(["calibrate", recipe])
        self.addCleanup(first.kill)
        while first.poll() is None and not (output / ".lock").exists():
            time.sleep(0.001)
        first.send_signal(signal.SIGSTOP)
        self.assertIsNone(first.poll())
        second = run("calibrate", recipe, "--quiet")
        first.send_signal(signal.SIGCONT)
        self.one_message(second.returncode, second.stderr, "a second run")
        self.assertIn("another yopo is writing into this folder", second.stderr)
        errors = first.communicate(timeout=120)[1]
        self.assertEqual(first.returncode, 0, errors)


class FolderGoesTest(WriterCase):
    def test_removed_and_replaced(self):
        """The folder is taken away while the command stands still at a moment of its work."""
        for name in ("calibrate", "export", "eval", "plan"):
            right = self.folder / "right"
            arguments, written = self.work(right)[name]
            self.yopo(*arguments)
            expected = hashes(written)
            for round in range(ROUNDS):
                for put in (None, "file"):
                    output = self.folder / "gone"
                    arguments, there = self.work(output)[name]
                    output.mkdir()
                    process = self.start(arguments)
                    self.addCleanup(process.kill)
                    deadline = time.monotonic() + 60
                    while process.poll() is None and not any(output.rglob("*")) and time.monotonic() < deadline:
                        time.sleep(0.0005)
                    time.sleep(0.01 * round)
                    process.send_signal(signal.SIGSTOP)
                    shutil.rmtree(output)
                    if put:
                        output.write_text("mine\n")
                    process.send_signal(signal.SIGCONT)
                    errors = process.communicate(timeout=120)[1]
                    shown = f"{name}, round {round}, {put}"
                    if process.returncode == 0:
                        # It had ended, or made the folder anew and wrote the right thing.
                        if there.exists():
                            self.assertEqual(hashes(there), expected, shown)
                    else:
                        self.one_message(process.returncode, errors, shown)
                    if put:
                        self.assertEqual(output.read_text(), "mine\n", shown)
                        output.unlink()
                    elif output.exists():
                        self.assertEqual(self.temporaries(output), [], shown)
                    shutil.rmtree(output, ignore_errors=True)
                    if round == ROUNDS - 1:
                        self.yopo(*arguments)
                        self.assertEqual(hashes(there), expected, f"{shown}, again")
                        shutil.rmtree(output)


class PermissionsTest(WriterCase):
    def test_the_users_mask(self):
        for mask in (0o022, 0o077, 0o002):
            output = self.folder / f"{mask:o}"
            for name, (arguments, _) in self.work(output).items():
                self.yopo(*arguments, preexec_fn=lambda: os.umask(mask))
            for path in [output, *output.rglob("*")]:
                wanted = (0o777 if path.is_dir() else 0o666) & ~mask
                self.assertEqual(stat.S_IMODE(path.stat().st_mode), wanted, f"{path}: {stat.S_IMODE(path.stat().st_mode):o}, mask {mask:o}")


class OthersNamesTest(WriterCase):
    def make(self, kind, path):
        if kind == "link":
            path.symlink_to(self.folder / "outside")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
            (path / "notes").write_text("mine\n")
        else:
            path.write_text("mine\n")

    def test_under_the_temporary_name(self):
        """Process numbers can be foreseen: the shell makes the names of its own number and then becomes the command."""
        (self.folder / "outside").write_text("theirs\n")
        right = self.work(self.folder / "right")
        for name, (arguments, written) in right.items():
            self.yopo(*arguments)
            for kind in ("link", "pipe", "folder", "file"):
                output = self.folder / f"{name}-{kind}"
                arguments, there = self.work(output)[name]
                output.mkdir()

                def prepare():
                    self.make(kind, there.with_name(f"{there.name}.partial-{os.getpid()}"))
                    for number in range(3):
                        self.make(kind, there.with_name(f"{there.name}.tmp-{os.getpid()}-{number}"))
                result = run(*arguments, "--quiet", preexec_fn=prepare)
                shown = f"{name}, {kind}"
                if result.returncode == 0:
                    self.assertEqual(hashes(there), hashes(written), shown)
                else:
                    self.one_message(result.returncode, result.stderr, shown)
                    self.assertFalse(there.exists(), shown)
                self.assertEqual((self.folder / "outside").read_text(), "theirs\n", shown)
                for path in output.iterdir():
                    if ".tmp-" in path.name and kind == "folder":
                        self.assertEqual((path / "notes").read_text(), "mine\n", shown)

    def test_a_hard_link_in_place_of_the_answers(self):
        outside = self.folder / "outside"
        arguments, there = self.work(self.folder)["eval"]
        answers = there / "answers" / "vqa-dense.jsonl"
        answers.parent.mkdir(parents=True)
        outside.write_text("")
        os.link(outside, answers)
        self.refused(*arguments, naming=[answers, "2 names"])
        self.assertEqual(outside.read_text(), "")
        answers.unlink()
        self.yopo(*arguments)


class LinksOutTest(WriterCase):
    """As download caches keep a checkpoint: snapshots of links to ../../blobs."""

    def test_a_download_cache(self):
        blobs, snapshot = self.folder / "cache" / "blobs", self.folder / "cache" / "snapshots" / "0123"
        blobs.mkdir(parents=True)
        snapshot.mkdir(parents=True)
        for number, file in enumerate(sorted(MODEL.iterdir())):
            shutil.copy(file, blobs / f"{number:040x}")
            (snapshot / file.name).symlink_to(pathlib.Path("../../blobs") / f"{number:040x}")
        for model, output in ((MODEL, "plain"), (snapshot, "cached")):
            self.yopo("export", "--model", model, "--plan", self.plan(), "--output", self.folder / output)
        self.assertEqual(hashes(self.folder / "cached"), hashes(self.folder / "plain"))
        self.assertFalse([path for path in (self.folder / "cached").rglob("*") if path.is_symlink()])

    def test_a_tokenizer_that_is_no_file(self):
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        file = model / "special_tokens_map.json"
        os.mkfifo(self.folder / "pipe")
        for target in (self.folder / "pipe", "/dev/zero", self.folder / "nothing", self.folder):
            file.unlink()
            file.symlink_to(target)
            output = self.folder / "new"
            shutil.rmtree(output, ignore_errors=True)
            result = run("export", "--model", model, "--plan", self.plan(), "--output", output, timeout=60)
            self.assertIn(result.returncode, (0, 2), result.stderr)
            self.assertIn("special_tokens_map.json", result.stdout + result.stderr, str(target))
            self.assertFalse(os.path.lexists(output / "special_tokens_map.json"))


if __name__ == "__main__":
    unittest.main()
