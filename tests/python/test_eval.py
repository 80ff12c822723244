"""`yopo eval` from a model to scores: DigitGrid's questions in the formats of POPE, VQAv2 and MMBench (images inside the table),
shards, and published scores beside ours."""
import json
import subprocess
import sys
import unittest

from benchmarks.data.files import Files
from benchmarks.scorers import score
from benchmarks.scorers.common import json_lines
from support import DIGITGRID, MODEL, TEST, Case, run

BENCHMARKS = DIGITGRID / "data" / "benchmarks"
POPE = Files("pope", BENCHMARKS / "pope" / "llava_pope_test.jsonl",
             sorted((BENCHMARKS / "pope" / "coco").glob("coco_pope_*.json")), TEST.images, [])
VQAV2 = Files("vqav2", BENCHMARKS / "vqav2" / "llava_vqav2_digitgrid_val.jsonl",
              [BENCHMARKS / "vqav2" / "v2_digitgrid_val_annotations.json"], TEST.images, [])
MMBENCH = Files("mmbench", BENCHMARKS / "mmbench" / "mmbench_dev_digitgrid.tsv", [], None, [])
ROTATION = 1_000_000
TOLERANCE = 1e-12


class EvalCase(Case):
    def ask(self, *arguments):
        """The result of `yopo eval` with the demo's model, and the folder it wrote."""
        output = self.folder / f"out-{len(list(self.folder.iterdir()))}"
        printed = self.yopo_json("eval", "--model", MODEL, "--batch-size", 40, "--threads", 1, "--quiet", "--output", output,
                                 *arguments)
        return printed, output


class DemoBenchmarksTest(EvalCase):
    def test_the_files_are_what_the_script_writes(self):
        subprocess.run([sys.executable, "-B", DIGITGRID / "make_benchmarks.py", "--output", self.folder / "made"], check=True)
        made = sorted(path.relative_to(self.folder / "made") for path in (self.folder / "made").rglob("*") if path.is_file())
        self.assertEqual(made, sorted(path.relative_to(BENCHMARKS) for path in BENCHMARKS.rglob("*") if path.is_file()))
        for name in made:
            self.assertEqual((self.folder / "made" / name).read_bytes(), (BENCHMARKS / name).read_bytes(), name)

    def end_to_end(self, files, protocol, count, least):
        """The command's own scores are those that the Python scorer finds in its answers, and no noise."""
        printed, output = self.ask(*files.flags(), "--protocol", protocol)
        result, = printed["results"]
        self.assertEqual(result, json.loads((output / "eval.json").read_text())["results"][0])
        said = json_lines(output / "answers" / f"{files.benchmark}-dense.jsonl")
        expected = score(files, said, "llava", "letter" if files.benchmark == "mmbench" else None)
        self.assertEqual((result["count"], result["protocol"]), (count, protocol))
        self.assertEqual(sorted(result["categories"]), sorted(expected["categories"]))
        for name, value in {**expected["categories"], "": expected["score"]}.items():
            found = result["categories"][name] if name else result["score"]
            self.assertTrue(abs(found - value) <= TOLERANCE, f"{name}: {found!r} is not {value!r}")
        self.assertGreater(result["score"], least)
        return {one["question_id"]: one["text"] for one in said}

    def test_three_benchmarks(self):
        plain, output = self.ask(*TEST.flags())
        known = {one["question_id"]: one["text"] for one in json_lines(output / "answers" / "vqa-dense.jsonl")}
        self.assertGreater(plain["results"][0]["score"], 0.8)
        for files, protocol, count, least in ((POPE, "llava", 200, 0.85), (VQAV2, "llava", 600, 0.9), (MMBENCH, "plain", 100, 0.2)):
            with self.subTest(files.benchmark):
                said = self.end_to_end(files, protocol, count, least)
                # The same questions in other clothes: an image out of the table is the one out of its file.
                same = {name: text for name, text in said.items() if name < ROTATION}
                self.assertEqual(same, {name: known[name] for name in same})
                self.assertEqual(len(said), 400 if files is MMBENCH else count)

    def test_an_embedded_image_that_is_cut_is_named(self):
        lines = MMBENCH.questions.read_text().splitlines(keepends=True)
        fields = lines[3].split("\t")
        fields[9] = fields[9][:400]  # whole base64, half a PNG
        table = self.folder / "cut.tsv"
        table.write_text("".join([*lines[:3], "\t".join(fields), *lines[4:]]))
        result = run("eval", "--model", MODEL, "--benchmark", "mmbench", "--questions", table, "--output", self.folder / "out",
                     "--threads", 1, "--quiet")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("cut.tsv:4", result.stderr)


class ShardTest(EvalCase):
    def shards(self, files, count):
        """The answer files of all shards, made in another order than theirs."""
        folder = self.folder / f"shards-{files.benchmark}-{count}"
        for number in reversed(range(1, count + 1)):
            printed = self.yopo_json("eval", "--model", MODEL, *files.flags(), "--batch-size", 16, "--threads", 1, "--quiet",
                                     "--output", folder, "--shard", f"{number}/{count}")
            result, = printed["results"]
            self.assertEqual((result["shard"], result["score"]), (f"{number}/{count}", None))
            self.assertEqual(printed, json.loads((folder / f"eval.{number}-of-{count}.json").read_text()))
        return [folder / "answers" / f"{files.benchmark}-dense.{number}-of-{count}.jsonl" for number in range(1, count + 1)]

    def merge(self, files, answers):
        return run("eval", *files.flags(), "--model", MODEL, "--merge", ",".join(map(str, answers)), "--output",
                   self.folder / "all.jsonl", "--quiet", "--json")

    def test_three_shards_are_the_whole_run(self):
        for files in (POPE, MMBENCH):
            with self.subTest(files.benchmark):
                printed, output = self.ask(*files.flags())
                whole = output / "answers" / f"{files.benchmark}-dense.jsonl"
                shards = self.shards(files, 3)
                merged = self.merge(files, [shards[2], shards[0], shards[1]])
                self.assertEqual(merged.returncode, 0, merged.stderr)
                self.assertEqual((self.folder / "all.jsonl").read_bytes(), whole.read_bytes())
                self.assertEqual((self.folder / "all.jsonl.fingerprint").read_bytes(),
                                 whole.with_name(whole.name + ".fingerprint").read_bytes())
                expected, = printed["results"]
                result, = json.loads(merged.stdout)["results"]
                for name in ("benchmark", "protocol", "model", "pruned", "count", "score", "categories", "details"):
                    self.assertEqual(result[name], expected[name], name)

    def test_sets_that_are_not_whole_are_named(self):
        one, two = self.shards(POPE, 2)
        other = self.shards(POPE, 3)[1]
        copy = self.folder / "copy.jsonl"
        copy.write_bytes(two.read_bytes())
        copy.with_name("copy.jsonl.fingerprint").write_bytes(two.with_name(two.name + ".fingerprint").read_bytes())
        foreign = self.folder / "foreign.jsonl"
        foreign.write_bytes(two.read_bytes())
        foreign.with_name("foreign.jsonl.fingerprint").write_text("0123 shard 2/2\n")
        unfinished = self.folder / "unfinished.jsonl"
        unfinished.write_bytes(b"".join(two.read_bytes().splitlines(keepends=True)[:-1]))
        unfinished.with_name("unfinished.jsonl.fingerprint").write_bytes(two.with_name(two.name + ".fingerprint").read_bytes())
        for answers, naming in (([one], ["shard 2/2 is missing"]), ([one, two, copy], [two, copy, "both shard 2/2"]),
                                ([one, foreign], [foreign, "fingerprints"]), ([one, other], [one, other, "shard 2/3"]),
                                ([one, unfinished], [unfinished, "not finished"])):
            with self.subTest(naming=naming):
                result = self.merge(POPE, answers)
                self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
                for text in naming:
                    self.assertIn(str(text), result.stderr)
                self.assertFalse((self.folder / "all.jsonl").exists())

    def test_refused(self):
        base = ["eval", "--model", MODEL, *POPE.flags(), "--output", self.folder / "out", "--quiet", "--shard"]
        for more, naming in ((["3/2"], "--shard: expected K/N"), (["1/2", "--compare", "x.jsonl"], "a shard is scored when"),
                             (["1/2", "--reference=llava-1.5-7b"], "a shard is scored when"),
                             (["1/2", "--answers", "x.jsonl"], "--shard asks a model")):
            with self.subTest(more=more):
                result = run(*base, *more)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(naming, result.stderr)
        self.assertFalse((self.folder / "out").exists())


class ReferenceTest(EvalCase):
    """The published scores of table 2 stand beside ours, in the benchmark's unit."""

    def test_printed(self):
        answers = self.folder / "answers.jsonl"
        labels = {row["question_id"]: "yes" for row in json_lines(POPE.questions)}
        answers.write_text("".join(json.dumps({"question_id": name, "text": text}) + "\n" for name, text in labels.items()))
        text = self.yopo("eval", *POPE.flags(), "--answers", answers, "--reference=llava-1.5-13b", "--quiet").stdout
        rows = [line.split() for line in text.splitlines()]
        for row in (["pope", "LLaVA-1.5", "dense", "0.8590"], ["pope", "YOPO,", "Table", "2", "dense", "0.8640"],
                    ["pope", "YOPO,", "Table", "2", "YOPO", "25", "%", "0.8630"],
                    ["pope", "YOPO,", "Table", "2", "YOPO", "12", "%", "0.8640"]):
            self.assertIn(row, rows)
        printed = self.yopo_json("eval", *POPE.flags(), "--answers", answers, "--reference=llava-1.5-7b", "--quiet")
        self.assertEqual([(one["setting"], round(one["score"], 12)) for one in printed["reference"]],
                         [("dense", 0.859), ("dense", 0.873), ("YOPO 25 %", 0.868), ("YOPO 12 %", 0.866)])

    def test_points(self):
        folder = self.folder / "MME" / "count"
        folder.mkdir(parents=True)
        (folder / "1.txt").write_text("Is A? Please answer yes or no.\tYes\nIs B? Please answer yes or no.\tNo\n")
        answers = self.folder / "answers.jsonl"
        answers.write_text("".join(json.dumps({"question_id": "count/1.png", "prompt": f"Is {one}?", "text": said}) + "\n"
                                   for one, said in (("A", "yes"), ("B", "yes"))))
        text = self.yopo("eval", "--benchmark", "mme", "--annotations", folder.parent, "--answers", answers,
                         "--reference=llava-1.5-7b", "--quiet").stdout
        rows = [line.split() for line in text.splitlines()]
        self.assertIn(["mme", "-", "count", "50.0"], rows)
        self.assertIn(["mme", "LLaVA-1.5", "dense", "1510.7"], rows)
        self.assertIn(["mme", "YOPO,", "Table", "2", "YOPO", "12", "%", "1429.6"], rows)

    def test_of_unknown_models(self):
        for flag, naming in (("--reference", "is no model with published scores"), ("--reference=llava-1.5-7", "'llava-1.5-7b'")):
            result = run("eval", "--model", MODEL, *POPE.flags(), "--output", self.folder / "out", flag, "--quiet")
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(naming, result.stderr)


if __name__ == "__main__":
    unittest.main()
