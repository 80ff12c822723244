"""`yopo run` for several budgets that is killed while it searches ends with the bytes of an undisturbed run, file for file."""
import random
import signal
import subprocess
import time
import unittest

from support import CALIB, MODEL, Case, command

KILLS = 5
RECIPE = f"""
model: {{path: {MODEL}}}
output: OUT
calibration:
  dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: 10}}
plan: {{budget: 0.4}}
export: {{budgets: [0.4, 0.2, 0.12]}}
search: {{evaluations: 14, samples: 10, questions: 1}}
verify: {{samples: 1}}
"""
TIMED = {"comparison.json"}  # holds times


class KillBudgets(Case):
    def start(self, name):
        recipe = self.folder / f"{name}.yaml"
        recipe.write_text(RECIPE.replace("OUT", str(self.folder / name)))
        # One thread: what is measured stands in one order in the journals.
        arguments = command("run", recipe, "--threads", 1, "--quiet")
        return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, name):
        process = self.start(name)
        errors = process.communicate()[1]
        self.assertEqual(process.returncode, 0, errors)
        return self.files(name)

    def files(self, name):
        folder = self.folder / name
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        found["recipe.yaml"] = b"\n".join(line for line in found["recipe.yaml"].split(b"\n") if not line.startswith(b"output:"))
        return {path: data for path, data in found.items() if path not in TIMED}

    def journals(self, name):
        return {path.name: path.stat().st_size for path in (self.folder / name).glob("search*.jsonl")}

    def test_random_moments(self):
        expected = self.finish("whole")
        sizes = self.journals("whole")
        self.assertEqual(sorted(sizes), ["search-0.12.jsonl", "search-0.2.jsonl", "search.jsonl"])
        total = sum(sizes.values())
        self.assertIn("pruned/yopo.safetensors", expected)
        chance = random.Random(20241006)
        # Where the journals hold so many bytes, and a little later: each search is hit.
        moments = sorted(chance.uniform(0.05, 0.95) * total for _ in range(KILLS - 2)) + [0.45 * total, 0.8 * total]
        stopped = []
        for moment in sorted(moments):
            process = self.start("killed")
            while process.poll() is None and sum(self.journals("killed").values()) < moment:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            self.assertEqual(process.returncode, -signal.SIGKILL)
            self.assertLess(sum(self.journals("killed").values()), total, "the searches had ended")
            stopped.append(len(self.journals("killed")))
        self.assertGreater(len(set(stopped)), 1, "the same search was hit each time")
        found = self.finish("killed")
        self.assertEqual(sorted(found), sorted(expected))
        self.assertEqual([path for path in expected if found[path] != expected[path]], [])


if __name__ == "__main__":
    unittest.main()
