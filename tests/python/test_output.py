"""Standard output that cannot be written is noticed by every command; a reader that has left is not an error."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from support import CALIB, MODEL, TEST, YOPO, Case, command, run

IMAGE = TEST.images / "0000.png"
SUBCOMMANDS = ["run", "calibrate", "plan", "headmask", "export", "verify", "eval", "generate", "inspect", "merge", "trace", "bench",
               "random", "report", "options"]


class OutputTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        stats, plan = cls.shared / "stats.h5", cls.shared / "plan.json"
        for arguments in (["calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 4, "--output", stats],
                          ["plan", "--stats", stats, "--model", MODEL, "--ffn-keep", "0.25", "--output", plan]):
            made = run(*arguments, "--quiet")
            assert made.returncode == 0, made.stderr

    def commands(self):
        """One of each kind that runs in a moment, with an output of its own."""
        stats, plan, new = self.shared / "stats.h5", self.shared / "plan.json", self.folder
        yield ["--version"]
        yield ["--help"]
        for name in SUBCOMMANDS:
            yield [name, "--help"]
        yield ["options"]
        for json_flag in ([], ["--json"]):
            tag = len(json_flag)
            yield ["inspect", MODEL, *json_flag]
            yield ["inspect", stats, *json_flag]
            yield ["plan", "--stats", stats, "--model", MODEL, "--ffn-keep", "0.5", "--output", new / f"p{tag}.json", *json_flag]
            yield ["headmask", "--stats", stats, "--keep", "0.5", "--output", new / f"m{tag}.npy", *json_flag]
            yield ["export", "--model", MODEL, "--plan", plan, "--output", new / f"pruned{tag}", *json_flag]
            yield ["merge", stats, "--output", new / f"merged{tag}.h5", *json_flag]
            yield ["calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 2, "--output", new / f"s{tag}.h5", *json_flag]
            yield ["generate", "--model", MODEL, "--image", IMAGE, "--prompt", "How many digits are there?", *json_flag]
            yield ["eval", "--model", MODEL, "--benchmark", "vqa", "--questions", self.few(), "--images", TEST.images, "--output",
                   new / f"eval{tag}", *json_flag]

    def few(self):
        file = self.folder / "few.jsonl"
        file.write_text("".join(json.dumps(sample) + "\n" for sample in TEST.samples()[:2]))
        shutil.copy(TEST.questions.parent / "answers.jsonl", self.folder)
        return file

    def ends(self, process_arguments, code, words, **options):
        result = subprocess.run(process_arguments, stderr=subprocess.PIPE, text=True, errors="replace", timeout=600, **options)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertTrue(result.stderr.startswith("yopo: "), result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)

    def quiet(self, arguments):
        return command(*arguments, *([] if arguments[-1] == "--help" or arguments[0].startswith("--") else ["--quiet"]))

    def test_a_full_disk(self):
        for arguments in self.commands():
            with self.subTest(arguments=" ".join(map(str, arguments))), open("/dev/full", "w") as full:
                self.ends(self.quiet(arguments), 2, ["standard output", "No space left"], stdout=full)

    def test_a_closed_output(self):
        for arguments in self.commands():
            with self.subTest(arguments=" ".join(map(str, arguments))):
                shell = ["sh", "-c", 'exec "$@" >&-', "sh", *self.quiet(arguments)]
                self.ends(shell, 2, ["standard output", "closed"])

    def test_a_file_does_not_take_the_place_of_a_closed_output(self):
        """The first file that is opened gets the lowest free number; what is printed must not end up in it."""
        for closed in (">&-", "2>&-", "<&-", ">&- 2>&- <&-"):
            with self.subTest(closed=closed):
                output = self.folder / f"{len(closed)}"
                arguments = ["eval", "--model", MODEL, "--benchmark", "vqa", "--questions", self.few(), "--images", TEST.images,
                             "--output", output]
                result = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command(*arguments)], capture_output=True,
                                        text=True, timeout=600)
                self.assertEqual(result.returncode, 2 if closed.startswith(">") else 0, result.stderr)
                lines = (output / "answers" / "vqa-dense.jsonl").read_text().splitlines()
                self.assertEqual([sorted(json.loads(line)) for line in lines],
                                 [["answer_id", "metadata", "model_id", "prompt", "question_id", "text"]] * 2)
                json.loads((output / "eval.json").read_text())

    def test_a_reader_that_leaves(self):
        """As in `| head`: no message, and the exit code by which shells report SIGPIPE."""
        for arguments in self.commands():
            with self.subTest(arguments=" ".join(map(str, arguments))):
                reader, writer = os.pipe()
                os.close(reader)
                try:
                    result = subprocess.run(self.quiet(arguments), stdout=writer, stderr=subprocess.PIPE, text=True, timeout=600)
                finally:
                    os.close(writer)
                self.assertEqual((result.returncode, result.stderr), (141, ""))

    def test_nobody_reads_the_progress(self):
        """The work is worth more than its progress: it goes on."""
        output = self.folder / "stats.h5"
        reader, writer = os.pipe()
        os.close(reader)
        arguments = ["calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 150, "--threads", 1, "--output", output]
        result = subprocess.run(command(*arguments), stdout=subprocess.PIPE, stderr=writer, text=True, timeout=600)
        os.close(writer)
        self.assertEqual(result.returncode, 0)
        self.assertTrue(output.exists())


if __name__ == "__main__":
    unittest.main()
