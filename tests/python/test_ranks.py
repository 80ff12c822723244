"""Processes of torchrun, srun and mpirun share the work: the bytes of one process, whatever happens to them."""
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from support import CALIB, MODEL, ROOT, TEST, Case, command, run

RECIPE = f"""
model: {{path: {MODEL}}}
output: OUT
calibration:
  dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: 9}}
plan: {{budget: 0.2}}
search: {{evaluations: 60, samples: 5, questions: 2}}
verify: {{samples: 1}}
evaluate:
  - {{benchmark: vqa, questions: {TEST.questions}, images: {TEST.images}, samples: 60, batch_size: 2}}
"""
# torchrun, in the interpreter of these tests.
TORCHRUN = [sys.executable, "-B", "-c", "import torch_cpu; from torch.distributed.run import main; main()"]
TIMED = {"comparison.json", "verify.json"}
LAUNCHERS = {"torchrun": ("RANK", "WORLD_SIZE"), "openmpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), "pmi": ("PMI_RANK", "PMI_SIZE"),
             "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def without_times(text):
    """eval.json but for its seconds."""
    results = json.loads(text)["results"]
    return [{name: value for name, value in result.items() if not name.startswith("seconds")} for result in results]


class Ranks(Case):
    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="yopo-ranks-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        recipe = cls.shared / "whole.yaml"
        recipe.write_text(RECIPE.replace("OUT", str(cls.shared / "whole")))
        result = run("run", recipe, "--quiet")
        if result.returncode != 0:
            raise AssertionError(result.stderr)
        cls.expected = cls.files(cls.shared / "whole")
        assert "plan.safetensors" in cls.expected, "vectors are compared, too"

    @staticmethod
    def files(folder):
        """Everything in it but for times; of the journal what is in it, for its order is that in which plans were measured."""
        found = {}
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if not path.is_file() or name in TIMED:
                continue
            data = path.read_bytes().replace(str(folder).encode(), b"OUT")  # the name of the model in answers
            if name == "recipe.yaml":
                data = b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"output:"))
            found[name] = without_times(data) if name == "eval.json" else sorted(data.split(b"\n")) if name == "search.jsonl" else data
        return found

    def same(self, folder):
        found = self.files(folder)
        self.assertEqual(sorted(found), sorted(self.expected))
        for name, data in self.expected.items():
            self.assertTrue(found[name] == data, name)
        self.assertTrue(json.loads((folder / "verify.json").read_text())["passed"])

    def recipe(self, name):
        path = self.folder / f"{name}.yaml"
        path.write_text(RECIPE.replace("OUT", str(self.folder / name)))
        return path, self.folder / name

    def torchrun(self, count, *arguments):
        line = TORCHRUN + ["--no-python", f"--nproc-per-node={count}", f"--master-port={free_port()}", *command(*arguments)]
        process = subprocess.Popen(line, cwd=ROOT / "tests" / "python", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
        self.addCleanup(lambda: process.poll() is None and process.kill())
        return process

    def start(self, count, arguments, launcher="srun", ranks=None, port=None, timeout=60, **options):
        """Plain processes with a launcher's variables; arguments of each rank, or of all. `options`: lists, one entry a rank."""
        port = port or free_port()
        each = arguments if isinstance(arguments[0], (list, tuple)) else [arguments] * count
        processes = []
        for rank in range(count) if ranks is None else ranks:
            rank_name, size_name = LAUNCHERS[launcher]
            environment = dict(os.environ, MASTER_ADDR="localhost", MASTER_PORT=str(port), YOPO_RANKS_TIMEOUT=str(timeout))
            environment.update({rank_name: str(rank), size_name: str(count)})
            process = subprocess.Popen(command(*each[rank]), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                                       **{name: values[rank] for name, values in {"cwd": [ROOT] * count, **options}.items()})
            self.addCleanup(lambda process=process: process.poll() is None and process.kill())
            processes.append(process)
        return processes

    def ends(self, processes):
        """(exit code, stdout, stderr) of each."""
        texts = [process.communicate(timeout=300) for process in processes]
        return [(process.returncode, *text) for process, text in zip(processes, texts)]

    def both(self, *arguments, **options):
        return self.ends(self.start(*arguments, **options))

    def test_two_and_four_under_torchrun(self):
        for count in (2, 4):
            with self.subTest(count=count):
                recipe, folder = self.recipe(f"of{count}")
                process = self.torchrun(count, "run", recipe)
                stdout, stderr = process.communicate()
                self.assertEqual(process.returncode, 0, stderr)
                self.same(folder)
                self.assertEqual(stdout.count("visual FLOPs (exact)"), 1, "rank 0 alone prints")
                self.assertIn(f"{count} ranks share the work", stderr)
                self.assertEqual(stderr.count("pruned checkpoint: "), 1, stderr)
        # Another number of ranks, and none, find all of it.
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.h5")} | {path: path.stat().st_mtime_ns for path in folder.rglob("*.jsonl")}
        for code, _, stderr in self.both(3, ("run", recipe, "--quiet"), launcher="openmpi"):
            self.assertEqual(code, 0, stderr)
        self.yopo("run", recipe, "--quiet")
        self.same(folder)
        self.assertEqual({path: path.stat().st_mtime_ns for path in before}, before)

    def test_one_is_killed_at_random_moments(self):
        recipe, folder = self.recipe("killed")
        journal_lines = len(self.expected["search.jsonl"])
        chance = random.Random(20261128)

        def lines(name):
            return (folder / name).read_bytes().count(b"\n") if (folder / name).exists() else 0

        plans, answers = chance.randrange(2, journal_lines - 4), chance.randrange(2, 16)
        moments = [lambda: (folder / "stats.h5.rank-1-of-2.partial").exists() or (folder / "stats.h5.rank-1-of-2").exists(),
                   lambda: lines("search.jsonl") > plans,
                   lambda: lines("answers/vqa-pruned.jsonl.rank-0-of-2") > answers]
        for number, moment in enumerate(moments):
            victim = chance.randrange(2)
            with self.subTest(moment=number, victim=victim):
                if number == 1:  # under torchrun, which ends the others itself
                    process = self.torchrun(2, "run", recipe, "--quiet")
                    while process.poll() is None and not moment():
                        time.sleep(0.002)
                    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                    of_rank = {pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0RANK=")[1][:1].decode(): int(pid) for pid in children
                               if b"\0RANK=" in pathlib.Path(f"/proc/{pid}/environ").read_bytes()}
                    os.kill(of_rank[str(victim)], signal.SIGKILL)
                    said, code = process.communicate()[1], process.returncode
                else:
                    processes = self.start(2, ("run", recipe, "--quiet"))
                    while all(process.poll() is None for process in processes) and not moment():
                        time.sleep(0.002)
                    processes[victim].send_signal(signal.SIGKILL)
                    code, _, said = self.ends(processes)[1 - victim]
                    self.assertEqual(code, 2, said)
                self.assertNotEqual(code, 0)
                self.assertIn(f"rank {victim} of 2 failed: its process is gone", said)
        self.assertFalse((folder / "comparison.json").exists())
        for code, _, stderr in self.both(2, ("run", recipe, "--quiet")):
            self.assertEqual(code, 0, stderr)
        self.same(folder)

    def test_commands_by_themselves_under_each_launcher(self):
        recipe, folder = self.recipe("alone")
        for launcher, arguments in (("srun", ("calibrate", recipe)), ("pmi", ("plan", recipe)), ("openmpi", ("plan", recipe, "--best-so-far"))):
            ends = self.both(2, arguments, launcher=launcher)
            for code, _, stderr in ends:
                self.assertEqual(code, 0, stderr)
            self.assertTrue(ends[0][1].startswith(str(folder)), ends[0][1])
            self.assertEqual(ends[1][1:], ("", ""), "rank 1 is quiet")
        for name in ("stats.h5", "plan.json", "plan.safetensors", "headmask.npy"):
            self.assertEqual((folder / name).read_bytes(), self.expected[name], name)
        # By flags, more ranks than samples or questions.
        few = (*CALIB.flags(), "--samples", 2)
        self.yopo("calibrate", "--model", MODEL, *few, "--output", self.folder / "one.h5", "--quiet")
        asked = ("eval", "--model", MODEL, *TEST.flags(), "--samples", 2)
        one = self.yopo_json(*asked, "--output", self.folder / "one")
        for arguments in (("calibrate", "--model", MODEL, *few, "--output", self.folder / "three.h5"), (*asked, "--output", self.folder / "three", "--json")):
            ends = self.both(3, arguments, launcher="torchrun")
            for code, _, stderr in ends:
                self.assertEqual(code, 0, stderr)
        self.assertEqual((self.folder / "three.h5").read_bytes(), (self.folder / "one.h5").read_bytes())
        self.assertEqual(without_times(ends[0][1]), without_times(json.dumps(one)))
        name = "answers/vqa-dense.jsonl"
        self.assertEqual((self.folder / "three" / name).read_bytes(), (self.folder / "one" / name).read_bytes())
        self.assertEqual(sorted(path.name for path in (self.folder / "three").rglob("*") if path.is_file()),
                         sorted(path.name for path in (self.folder / "one").rglob("*") if path.is_file()))

    def refused(self, ends, *parts, code=2):
        for end in ends:
            self.assertEqual(end[0], code, end[2])
            self.assertEqual(end[1], "")
            for part in parts:
                self.assertIn(part, end[2])

    def test_ranks_that_disagree_are_named(self):
        recipe, folder = self.recipe("disagree")
        plain = ["run", recipe, "--quiet"]
        self.refused(self.both(2, [plain, [*plain, "--set", "seed=7"]]), "recipe: rank 1 of 2 has 'seed: 7', rank 0 of 2 has 'seed: 0'")
        self.refused(self.both(2, [plain, ["calibrate", recipe, "--quiet"]]), "command: rank 1 of 2 has 'calibrate'")
        self.refused(self.both(2, [plain, [*plain, "--memory", "12 parsecs"]]), "rank 1 of 2", "--memory")
        self.assertFalse(folder.exists())
        # Relative paths, and another folder that they lead to on rank 1.
        machines = [self.folder / "here", self.folder / "there"]
        for machine in machines:
            machine.mkdir()
            shutil.copy(CALIB.questions, machine / "questions.jsonl")
        flags = ("calibrate", "--model", MODEL, "--questions", "questions.jsonl", "--images", CALIB.images, "--samples", 3, "--output", "out/stats.h5")
        self.refused(self.both(2, flags, cwd=machines, timeout=4), "rank 1 of 2 does not see the folder")
        with open(machines[1] / "questions.jsonl") as file:
            samples = [json.loads(line) for line in file]
        samples[0]["text"] += " Or not?"
        (machines[1] / "questions.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        flags = [*flags[:flags.index("--samples")], *flags[flags.index("--output"):]]
        self.refused(self.both(2, flags, cwd=machines), "samples of the calibration", "rank 1 of 2 has")

    def test_ranks_that_do_not_come_are_named(self):
        recipe, folder = self.recipe("missing")
        self.refused(self.both(3, ("run", recipe, "--quiet"), ranks=(0, 2), timeout=3), "rank 1 of 3 did not come within 3 s")
        self.refused(self.both(2, ("run", recipe, "--quiet"), ranks=(1,), timeout=1), "rank 0 of 2 did not come within 1 s", "localhost:")
        self.assertFalse(folder.exists())

    def test_a_signal_to_one_ends_all(self):
        recipe, folder = self.recipe("signal")
        processes = self.start(2, ("run", recipe, "--quiet"))
        while all(process.poll() is None for process in processes) and not (folder / "search.jsonl").exists():
            time.sleep(0.002)
        processes[1].send_signal(signal.SIGTERM)
        ends = self.ends(processes)
        self.assertEqual([end[0] for end in ends], [130, 130], ends)
        self.assertIn("rank 1 of 2 failed: interrupted", ends[0][2])
        self.assertIn("rank 1 of 2: interrupted; the same command continues", ends[1][2])

    def test_bad_variables_and_commands(self):
        recipe, _ = self.recipe("bad")

        def says(variables, *parts, arguments=("run", recipe)):
            result = run(*arguments, env=dict(os.environ, **variables))
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
            for part in parts:
                self.assertIn(part, result.stderr)

        says({"RANK": "1"}, "RANK is set", "WORLD_SIZE is not")
        says({"RANK": "x", "WORLD_SIZE": "2"}, "RANK", "'x'")
        says({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is 2")
        says({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}, "MASTER_ADDR is not set", "srun", "export")
        says({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "port"}, "MASTER_PORT", "'port'")
        says({"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500", "YOPO_RANKS_TIMEOUT": "-1"}, "YOPO_RANKS_TIMEOUT")
        two = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
        says(two, "inspect: started by torchrun as rank 0 of 2", "run, calibrate, plan and eval", arguments=("inspect", MODEL))
        # One process, whatever else is set.
        self.yopo("inspect", MODEL, env=dict(os.environ, RANK="0", WORLD_SIZE="1"))
        self.refused(self.both(2, ("calibrate", "--model", MODEL, *CALIB.flags(), "--part", "1/2", "--output", self.folder / "part.h5")), "--part")
        self.refused(self.both(2, ("eval", "--model", MODEL, *TEST.flags(), "--shard", "1/2", "--output", self.folder / "part")), "--shard")


if __name__ == "__main__":
    unittest.main()
