"""A calibration that is killed at any moment continues where it stopped and ends with the same bytes."""
import json
import random
import subprocess
import time
import unittest

from support import CALIB, MODEL, TEST, Case, command

KILLS = 10        # that hit a run between its first journal and its end
ATTEMPTS = 60
WORK = 3.5        # seconds of work in an undisturbed run, besides starting up: room for several journals


class Run:
    """`yopo calibrate` on the first `count` of `questions` into one output."""

    def __init__(self, questions, images, output, *flags):
        self.output = output
        self.partial = output.with_name(output.name + ".partial")
        self.arguments = ["calibrate", "--model", MODEL, "--questions", questions, "--images", images, "--threads", 1, "--quiet",
                          "--output", output, *flags]

    def start(self):
        self.began = time.monotonic()
        return subprocess.Popen(command(*self.arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, test):
        """Runs to the end; (seconds until the journal appeared or None, seconds in all)."""
        process = self.start()
        journal = None
        while process.poll() is None:
            if journal is None and self.partial.exists():
                journal = time.monotonic() - self.began
            time.sleep(0.002)
        total = time.monotonic() - self.began
        errors = process.communicate()[1]
        test.assertEqual(process.returncode, 0, errors)
        return journal, total

    def kill_after(self, seconds):
        """SIGKILL `seconds` after the start; whether it hit a run that had begun and not ended."""
        process = self.start()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        process.kill()
        process.communicate()
        return process.returncode == -9 and self.partial.exists() and not self.output.exists()


class KillResumeTest(Case):
    def questions(self, count):
        """`count` questions: those of the test set, over again under new ids where they do not suffice."""
        samples, file = TEST.samples(), self.folder / "questions.jsonl"
        with open(file, "w") as out:
            for i in range(count):
                out.write(json.dumps({**samples[i % len(samples)], "question_id": i}) + "\n")
        return file

    def enough_questions(self):
        """A question file on which a run has WORK seconds of work on this machine."""
        few, many = 8, 108
        _, starting = Run(CALIB.questions, CALIB.images, self.folder / "few.h5", "--samples", few).finish(self)
        _, total = Run(CALIB.questions, CALIB.images, self.folder / "many.h5", "--samples", many).finish(self)
        return self.questions(int(WORK * (many - few) / max(total - starting, 0.05)) + many)

    def test_ten_random_moments(self):
        questions = self.enough_questions()
        whole = Run(questions, TEST.images, self.folder / "whole.h5")
        journal, total = whole.finish(self)
        self.assertIsNotNone(journal, f"an undisturbed run of {total:.1f} s never had a journal")
        expected = whole.output.read_bytes()
        self.assertFalse(whole.partial.exists(), "the finished run left its journal")

        chance = random.Random(20241006)
        hits = attempts = 0
        while hits < KILLS:
            attempts += 1
            self.assertLessEqual(attempts, ATTEMPTS, f"only {hits} of {ATTEMPTS} kills hit a run ({journal:.2f} to {total:.2f} s)")
            run = Run(questions, TEST.images, self.folder / f"killed-{attempts}.h5")
            if not run.kill_after(chance.uniform(0.9 * journal, total)):
                continue
            hits += 1
            # Some runs are killed again, perhaps while they take up the journal.
            if chance.random() < 0.4:
                run.kill_after(chance.uniform(0, total))
            run.finish(self)
            self.assertEqual(run.output.read_bytes(), expected, f"kill {hits}: other bytes than the undisturbed run")
            left = sorted(path.name for path in self.folder.iterdir() if path.name.startswith(f"killed-{attempts}."))
            self.assertEqual(left, [run.output.name])
            run.output.unlink()
        print(f"{hits} of {attempts} kills hit a run of {total:.1f} s whose journal appears after {journal:.1f} s")

    def test_a_resumed_run_does_not_start_over(self):
        questions = self.enough_questions()
        run = Run(questions, TEST.images, self.folder / "stats.h5")
        _, total = run.finish(self)
        run.output.unlink()
        for _ in range(ATTEMPTS):
            if run.kill_after(0.9 * total):
                break
            run.output.unlink(missing_ok=True)
            run.partial.unlink(missing_ok=True)
        _, rest = run.finish(self)
        self.assertLess(rest, 0.8 * total, "the resumed run took as long as a whole one")

    def test_finished_output_is_returned(self):
        run = Run(CALIB.questions, CALIB.images, self.folder / "stats.h5", "--samples", 8)
        run.finish(self)
        before = run.output.read_bytes(), run.output.stat().st_mtime_ns
        run.finish(self)
        self.assertEqual((run.output.read_bytes(), run.output.stat().st_mtime_ns), before)

    def test_output_of_other_inputs_is_refused(self):
        output = self.folder / "stats.h5"
        Run(CALIB.questions, CALIB.images, output, "--samples", 8).finish(self)
        before = output.read_bytes()
        process = Run(CALIB.questions, CALIB.images, output, "--samples", 9).start()
        errors = process.communicate()[1]
        self.assertEqual(process.returncode, 2, errors)
        self.assertTrue(errors.startswith("yopo: "), errors)
        self.assertEqual(output.read_bytes(), before)


if __name__ == "__main__":
    unittest.main()
