"""An evaluation that is killed at any moment continues from its journal: it ends with the answers and scores of an undisturbed
run, and asks no question twice."""
import json
import random
import signal
import subprocess
import time
import unittest

from support import MODEL, TEST, Case, command

KILLS = 10
QUESTIONS = 120
BATCH = 3


def scores(path):
    """eval.json without what the clock says."""
    results = json.loads(path.read_text())["results"]
    return [{key: value for key, value in result.items() if not key.startswith("seconds")} for result in results]


class KillEvalTest(Case):
    def setUp(self):
        super().setUp()
        self.questions = self.folder / "questions.jsonl"
        # The questions of an image stand apart, as in POPE's files: they are asked together, and written in this order.
        samples = sorted(TEST.samples()[:QUESTIONS], key=lambda sample: sample["question_id"] % 4)
        self.questions.write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        self.order = [sample["question_id"] for sample in samples]
        self.annotations = self.folder / "expected.jsonl"
        lines = (TEST.questions.parent / "answers.jsonl").read_text().splitlines(keepends=True)
        self.annotations.write_text("".join(lines[:QUESTIONS]))

    def start(self, output):
        arguments = ["eval", "--model", MODEL, "--questions", self.questions, "--images", TEST.images, "--annotations",
                     self.annotations, "--batch-size", BATCH, "--threads", 1, "--quiet", "--json", "--output", output]
        return subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, output):
        process = self.start(output)
        errors = process.communicate()[1]
        self.assertEqual(process.returncode, 0, errors)

    def journal(self, output):
        return output / "answers" / "vqa-dense.jsonl"

    def read(self, output):
        journal = self.journal(output)
        return journal.read_bytes() if journal.exists() else b""

    def kill(self, output, lines, delay):
        """SIGKILL `delay` seconds after the journal holds `lines` lines; whether the run was still at work. What the journal
        held before stays."""
        before = self.read(output)
        before = before[:before.rfind(b"\n") + 1]  # a cut line is dropped
        process = self.start(output)
        while process.poll() is None and (not self.journal(output).exists() or self.read(output).count(b"\n") < lines):
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        process.communicate()
        self.assertTrue(self.read(output).startswith(before), "finished answers were changed")
        return process.returncode == -9

    def test_ten_random_moments(self):
        whole = self.folder / "whole"
        self.finish(whole)
        expected = self.read(whole)
        self.assertEqual(expected.count(b"\n"), QUESTIONS)

        chance = random.Random(20241006)
        killed = self.folder / "killed"
        hits = 0
        for lines in sorted(chance.sample(range(QUESTIONS - 2 * BATCH), KILLS)):
            hits += self.kill(killed, lines, chance.uniform(0, 0.02))
            if hits == KILLS // 2:  # a kill inside a write leaves half a line
                with open(self.journal(killed), "ab") as file:
                    file.write(b'{"question_id":119,"prompt":"What')
        self.assertEqual(hits, KILLS, "a run ended before it was killed")
        self.assertLess(self.read(killed).count(b"\n"), QUESTIONS)
        self.finish(killed)
        self.assertEqual(self.read(killed), expected)
        ids = [json.loads(line)["question_id"] for line in self.read(killed).splitlines()]
        self.assertEqual(ids, self.order)
        self.assertEqual(scores(killed / "eval.json"), scores(whole / "eval.json"))

    def test_a_finished_run_asks_nothing(self):
        output = self.folder / "out"
        self.finish(output)
        before = self.read(output), self.journal(output).stat().st_mtime_ns
        result = scores(output / "eval.json")
        self.finish(output)
        self.assertEqual((self.read(output), self.journal(output).stat().st_mtime_ns), before)
        self.assertEqual(scores(output / "eval.json"), result)

    def test_two_runs_do_not_share_a_journal(self):
        output = self.folder / "out"
        first = self.start(output)
        try:
            while first.poll() is None and self.read(output).count(b"\n") < BATCH:
                time.sleep(0.001)
            first.send_signal(signal.SIGSTOP)
            self.assertLess(self.read(output).count(b"\n"), QUESTIONS, "the first run had ended already")
            second = self.start(output)
            errors = second.communicate()[1]
            self.assertEqual(second.returncode, 2, errors)
            self.assertIn("another yopo is writing", errors)
        finally:
            first.send_signal(signal.SIGCONT)
            first_errors = first.communicate()[1]
        self.assertEqual(first.returncode, 0, first_errors)
        self.assertEqual(self.read(output).count(b"\n"), QUESTIONS)


if __name__ == "__main__":
    unittest.main()
