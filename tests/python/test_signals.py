"""SIGINT, SIGTERM and SIGHUP at any moment: exit code 130 with a message, nothing half-written, and the same command ends with the
bytes of an undisturbed run. No thread that computes takes a signal: a frame on its stack has corrupted heaps."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from support import CALIB, MODEL, TEST, Case, command, run

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
# Of each signal and command; YOPO_TEST_SIGNALS=500 is the long run.
ROUNDS = int(os.environ.get("YOPO_TEST_SIGNALS", "4"))
QUESTIONS = 24


def masks(pid):
    """Of each thread of the process, the signals that it blocks."""
    found = []
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        try:
            lines = (thread / "status").read_text().splitlines()
        except OSError:
            continue
        found.append(int(next(line.split()[1] for line in lines if line.startswith("SigBlk:")), 16))
    return found


class SignalTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.questions = cls.shared / "questions.jsonl"
        cls.questions.write_text("".join(json.dumps(sample) + "\n" for sample in TEST.samples()[:QUESTIONS]))
        shutil.copy(TEST.questions.parent / "answers.jsonl", cls.shared)
        for arguments in (["calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 8, "--output", cls.shared / "stats.h5"],
                          ["plan", "--stats", cls.shared / "stats.h5", "--model", MODEL, "--updates-keep", "0.25", "--ffn-keep",
                           "0.25", "--window", 3, "--output", cls.shared / "plan.json"],
                          ["export", "--model", MODEL, "--plan", cls.shared / "plan.json", "--output", cls.shared / "pruned"]):
            made = run(*arguments, "--quiet")
            assert made.returncode == 0, made.stderr

    def work(self, output):
        """Commands by name, and the file whose bytes the run ends with."""
        return {
            "calibrate": (["calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 12, "--threads", 1, "--output",
                           output / "stats.h5"], output / "stats.h5"),
            "export": (["export", "--model", MODEL, "--plan", self.shared / "plan.json", "--output", output / "pruned"],
                       output / "pruned" / "model.safetensors"),
            "eval": (["eval", "--model", self.shared / "pruned", "--questions", self.questions, "--images", TEST.images,
                      "--batch-size", 3, "--threads", 1, "--output", output], output / "answers" / "vqa-pruned.jsonl"),
        }

    def start(self, arguments):
        environment = {**os.environ, "MALLOC_PERTURB_": "165"}  # what is freed is not what it was
        return subprocess.Popen(command(*arguments, "--quiet"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env=environment)

    def loaded(self, process):
        """Waits until the libraries are there and signals are waited for: before that the kernel ends the process by itself."""
        wanted = sum(1 << (number - 1) for number in SIGNALS)
        while process.poll() is None and not any(mask & wanted == wanted for mask in masks(process.pid)):
            time.sleep(0.0005)

    def test_any_moment(self):
        chance = random.Random(20241006)
        for name, (arguments, file) in self.work(self.folder / "whole").items():
            began = time.monotonic()
            process = self.start(arguments)
            self.loaded(process)
            ready = time.monotonic()
            self.assertEqual((process.communicate()[1], process.returncode), ("", 0))
            length, expected = time.monotonic() - ready, file.read_bytes()
            print(f"{name}: {ready - began:.3f} s until signals are waited for, {length:.3f} s of work")
            codes = []
            for number in SIGNALS:
                for i in range(ROUNDS):
                    with self.subTest(command=name, signal=number.name, round=i):
                        output = self.folder / f"{name}-{number.name}-{i}"
                        arguments, file = self.work(output)[name]
                        process = self.start(arguments)
                        self.loaded(process)
                        # The first at once, the others at any time.
                        time.sleep(chance.uniform(0, 1.05 * length) if i > 0 else 0)
                        process.send_signal(number)
                        errors = process.communicate()[1]
                        codes.append(process.returncode)
                        if process.returncode == 0:
                            self.assertEqual(errors, "")
                        else:
                            self.assertEqual(process.returncode, 130, errors)
                            self.assertRegex(errors, r"\Ayopo: interrupted; [^\n]*\n\Z")
                        left = [path for path in output.parent.iterdir() if path.name.startswith(output.name + ".")]
                        left += [path for path in output.rglob("*") if ".tmp-" in path.name or ".partial-" in path.name]
                        self.assertEqual(left, [])
                        process = self.start(arguments)
                        self.assertEqual((process.communicate()[1], process.returncode), ("", 0))
                        self.assertEqual(file.read_bytes(), expected)
                        shutil.rmtree(output)
            self.assertGreater(codes.count(130), len(codes) // 2, "most signals came after the work")

    def test_no_thread_that_computes_takes_a_signal(self):
        wanted = sum(1 << (number - 1) for number in SIGNALS)
        everybodys = 1 << (signal.SIGUSR1 - 1)
        arguments, file = self.work(self.folder / "out")["eval"]
        arguments = [argument if argument != 1 else 2 for argument in arguments]
        process = self.start(arguments)
        most = 0
        while process.poll() is None and not file.exists():
            time.sleep(0.001)
        while process.poll() is None:
            found = masks(process.pid)
            if process.poll() is None:
                most = max(most, len(found))
                # The kernel shows what a thread waits for as not blocked; the one that waits blocks everything else.
                open_ones = [mask for mask in found if mask & wanted != wanted]
                self.assertLessEqual(len(open_ones), 1, [f"{mask:x}" for mask in found])
                self.assertTrue(all(mask & everybodys for mask in open_ones), [f"{mask:x}" for mask in found])
            time.sleep(0.002)
        process.communicate()
        self.assertGreaterEqual(most, 3, "the main thread, one that waits and one that prepares images")

    def test_a_second_signal_ends_it_at_once(self):
        process = self.start(self.work(self.folder / "out")["calibrate"][0])
        self.loaded(process)
        process.send_signal(signal.SIGSTOP)  # so that both are there before it looks
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        errors = process.communicate()[1]
        self.assertEqual(process.returncode, 130, errors)
        self.assertTrue(errors.startswith("yopo: interrupted"), errors)

    def test_nohup(self):
        arguments, file = self.work(self.folder / "out")["calibrate"]
        process = subprocess.Popen(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *command(*arguments, "--quiet")],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.3)
        if process.poll() is None:
            process.send_signal(signal.SIGHUP)
        self.assertEqual((process.communicate()[1], process.returncode), ("", 0))
        self.assertTrue(file.exists())


if __name__ == "__main__":
    unittest.main()
