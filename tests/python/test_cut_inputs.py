"""Inputs that another program cuts short or overwrites while they are read: one message and exit code 2, never a signal."""
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from checkpoint_files import copy_checkpoint
from refusals import BadInput
from support import CALIB, MODEL, TEST, command

ROUNDS = int(os.environ.get("YOPO_TEST_CUTS", "6"))


def maps(process, file):
    """Whether the process has the file mapped."""
    try:
        with open(f"/proc/{process.pid}/maps") as lines:
            return any(line.rstrip().endswith(str(file)) for line in lines)
    except OSError:
        return False


class CutTest(BadInput):
    def work(self, model):
        data = ["--questions", self.questions, "--images", TEST.images]
        return {"calibrate": ["calibrate", "--model", model, *CALIB.flags(), "--samples", 40, "--threads", 1, "--output",
                              self.folder / "new" / "stats.h5"],
                "eval": ["eval", "--model", model, *data, "--threads", 1, "--batch-size", 2, "--output", self.folder / "new"],
                "export": ["export", "--model", model, "--plan", self.plan(), "--output", self.folder / "new" / "pruned"],
                "generate": [*self.generate(model), "--threads", 1]}

    def setUp(self):
        super().setUp()
        self.questions = self.folder / "questions.jsonl"
        self.questions.write_text("".join(json.dumps(sample) + "\n" for sample in TEST.samples()[:24]))
        shutil.copy(TEST.questions.parent / "answers.jsonl", self.folder)

    def cut(self, name, delay, size):
        """Starts the command, waits until it has mapped the weights and `delay` seconds more, stops it, and cuts the weights to `size`
        bytes; what the command ends with."""
        shutil.rmtree(self.folder / "new", ignore_errors=True)
        shutil.rmtree(self.folder / "model", ignore_errors=True)
        weights = copy_checkpoint(MODEL, self.folder / "model")
        process = subprocess.Popen(command(*self.work(self.folder / "model")[name], "--quiet"), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, errors="replace")
        self.addCleanup(process.kill)
        while process.poll() is None and not maps(process, weights):
            time.sleep(0.0002)
        time.sleep(delay)
        process.send_signal(signal.SIGSTOP)
        os.truncate(weights, size)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=120)
        shown = f"{name}, cut to {size} bytes after {delay:.3f} s: exit code {process.returncode}\n{errors}"
        self.assertIn(process.returncode, (0, 2), shown)  # 0: it had read what it needed
        if process.returncode == 0:
            return 0
        self.assertTrue(errors.startswith("yopo: "), shown)
        self.assertEqual(errors.count("\n"), 1, shown)
        self.assertIn("model.safetensors", errors, shown)
        self.assertFalse((self.folder / "new" / "pruned").exists(), shown)
        self.assertFalse((self.folder / "new" / "eval.json").exists(), shown)
        return 2

    def test_weights(self):
        for name in ("calibrate", "eval", "export", "generate"):
            codes = []
            for step in range(ROUNDS):
                codes.append(self.cut(name, 0.02 * step, (0, 4096, 100_000)[step % 3]))
                # Whole again, the same command ends well and leaves nothing besides.
                shutil.copy(MODEL / "model.safetensors", self.folder / "model" / "model.safetensors")
            self.assertIn(2, codes, f"{name}: it was never caught while it read")
            self.yopo(*self.work(self.folder / "model")[name])
            left = [path.name for path in (self.folder / "new").rglob("*") if ".tmp-" in path.name or ".partial" in path.name]
            self.assertEqual(left, [], name)


if __name__ == "__main__":
    unittest.main()
