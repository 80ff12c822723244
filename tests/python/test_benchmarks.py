"""The seven benchmarks, scored by the command and by the Python scorers of benchmarks/: every trap of the published rules with
its score written down, thousands of random answers, and files that do not fit together."""
import base64
import json
import math
import os
import shutil
import unittest

from benchmarks import traps
from benchmarks.data import choices, images, make, open_questions, yes_no
from benchmarks.data.files import answers, write_answers, write_json, write_text
from benchmarks.scorers import SCORERS, common, gqa, mmbench, mme, score, textvqa, vqa_text, vqav2
from support import MODEL, Case, run

COUNT = int(os.environ.get("YOPO_RANDOM_ANSWERS", 10000))  # a benchmark
LMMS = tuple(SCORERS)  # the benchmarks that the command scores under protocol lmms


class BenchmarkCase(Case):
    def evaluate(self, files, said, protocol="llava", rule=None):
        """The command's result for these answers."""
        path = write_answers(self.folder / "said" / "answers.jsonl", said)
        more = ["--protocol", protocol] + (["--rule", rule] if rule else [])
        result = self.yopo_json("eval", *files.flags(), "--answers", path, *more, "--quiet")
        result = result["results"][0] if "results" in result else result
        self.assertEqual((result["benchmark"], result["protocol"]), (files.benchmark, protocol))
        if rule:
            self.assertEqual(result["rule"], rule)
        return result

    def same_scores(self, found, expected):
        """Score, count and every category to 1e-12 of its size; NaN is never equal."""
        self.assertEqual(found["count"], expected["count"])
        self.assertEqual(sorted(found["categories"]), sorted(expected["categories"]))
        for name, value in {**expected["categories"], "score": expected["score"]}.items():
            other = found["score"] if name == "score" else found["categories"][name]
            self.assertTrue(math.isfinite(other) and abs(other - value) <= 1e-12 * max(1, abs(value)),
                            f"{name}: {other!r} is not {value!r}")


class TrapTest(BenchmarkCase):
    """Each trap's literal score, from the Python scorer and from the command."""

    def each(self, check, known):
        for number, case in enumerate(traps.cases()):
            files = case.build(self.folder / str(number))
            for (protocol, rule), (value, count, categories) in case.expected.items():
                if known(files.benchmark, protocol):
                    with self.subTest(case=case.name, protocol=protocol, rule=rule):
                        found = check(files, case.answers(files), protocol, rule)
                        self.same_scores(found, {"score": value, "count": count, "categories": categories})

    def test_scorers(self):
        self.each(score, lambda benchmark, protocol: True)

    def test_command(self):
        self.each(self.evaluate, lambda benchmark, protocol: protocol == "llava" or benchmark in LMMS)


class RandomTest(BenchmarkCase):
    """Random answers, scored by the command and by the Python scorer."""

    def agree(self, benchmark, rules=(None,)):
        files, said = make.make(self.folder / benchmark, benchmark, COUNT, seed=20240613)
        for protocol, rule in [("llava", rule) for rule in rules] + ([traps.LMMS] if benchmark in LMMS else []):
            with self.subTest(protocol=protocol, rule=rule):
                expected = score(files, said, protocol, rule)
                # Answers that all are right, or all wrong, would show nothing.
                self.assertTrue(0.1 < expected["score"] / (2000 if benchmark == "mme" else 1) < 0.99, expected["score"])
                self.same_scores(self.evaluate(files, said, protocol, rule), expected)

    def test_vqav2(self):
        self.agree("vqav2")

    def test_gqa(self):
        self.agree("gqa")

    def test_scienceqa(self):
        self.agree("scienceqa")

    def test_textvqa(self):
        self.agree("textvqa")

    def test_pope(self):
        self.agree("pope")

    def test_mme(self):
        self.agree("mme")

    def test_mmbench(self):
        self.agree("mmbench", mmbench.RULES)


class BadInputTest(BenchmarkCase):
    """Files that do not fit together: exit code 2 and one message that names the file, the line where there are lines, and what
    is wrong with it."""

    def refused(self, *arguments, naming):
        result = run("eval", *arguments, "--quiet", "--json")
        shown = f"yopo eval {' '.join(map(str, arguments))}\nexit code {result.returncode}\n{result.stdout}{result.stderr}"
        self.assertEqual(result.returncode, 2, shown)
        self.assertEqual(result.stdout, "", shown)
        self.assertTrue(result.stderr.splitlines()[-1].startswith("yopo: "), shown)
        for text in naming:
            self.assertIn(str(text), result.stderr.splitlines()[-1], shown)

    def check(self, files, said, *naming):
        """Ready answers must be refused."""
        path = write_answers(self.folder / "said" / "answers.jsonl", said)
        self.refused(*files.flags(), "--answers", path, naming=naming)

    def check_asking(self, files, *naming):
        """So must asking a model; nothing is answered before."""
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        self.refused("--model", MODEL, *files.flags(), "--output", out, "--max-new-tokens", 1, naming=naming)
        self.assertFalse([path for path in out.rglob("*") if path.name in ("eval.json", "results.json")])

    def small(self, benchmark, count=6):
        """Three times two good questions, and right answers."""
        files, _ = make.make(self.folder / benchmark, benchmark, count, seed=3)
        return files, answers(files.asked, [question.correct[0] for question in files.asked])

    def edit(self, path, *pairs):
        text = path.read_text(encoding="utf-8")
        for old, new in pairs:
            self.assertIn(old, text)
            text = text.replace(old, new, 1)
        write_text(path, text)

    def edit_json(self, path, change):
        value = json.loads(path.read_text(encoding="utf-8"))
        change(value)
        write_json(path, value)

    def test_good_files_are_taken(self):
        for benchmark in SCORERS:
            with self.subTest(benchmark=benchmark):
                files, said = self.small(benchmark)
                self.same_scores(self.evaluate(files, said), score(files, said))

    def test_answers_to_other_questions(self):
        """They are left out and counted in one warning, and are named where a question then has no answer."""
        for benchmark in SCORERS:
            with self.subTest(benchmark=benchmark):
                files, said = self.small(benchmark)
                other = {"mme": "count/images/987.png", "textvqa": "987", "gqa": "987", "scienceqa": "987"}.get(benchmark, 987)
                more = [*said[:2], {**said[2], "question_id": other}, *said[2:], {**said[3], "question_id": other}]
                self.same_scores(self.evaluate(files, more), score(files, said))
                path = write_answers(self.folder / "said" / "answers.jsonl", more)
                result = run("eval", *files.flags(), "--answers", path, "--lmms", self.folder / "lmms", "--date", "d")
                warnings = [line for line in result.stderr.splitlines() if "not asked" in line]
                self.assertEqual(len(warnings), 1, result.stderr)
                for text in ("2 answers are to questions that are not asked", "answers.jsonl:3", "987"):
                    self.assertIn(text, warnings[0])
                if benchmark != "scienceqa":
                    self.check(files, [*said[:2], {**said[2], "question_id": other}, *said[3:]], said[2]["question_id"],
                               "answers.jsonl:3", "987")
                self.check(files, [{**one, "question_id": other} for one in said], "answers.jsonl:1", "987")

    def test_annotations_of_other_questions(self):
        """Asking a part of a set with the annotations of the whole is the usual case."""
        for benchmark in ("vqav2", "gqa", "textvqa", "pope"):
            for name, part in (("every other", slice(1, None, 2)), ("the last", slice(4, None))):
                with self.subTest(benchmark=benchmark, part=name):
                    files, said = self.small(benchmark, 12)
                    lines = files.questions.read_text(encoding="utf-8").splitlines(keepends=True)
                    write_text(files.questions, "".join(lines[part]))
                    for protocol, _ in (traps.LLAVA, traps.LMMS):
                        found = self.evaluate(files, said[part], protocol)
                        self.same_scores(found, score(files, said[part], protocol))
                        self.assertEqual(found["count"], len(lines[part]))
                        self.same_scores(self.evaluate(files, said, protocol), found)

    def test_questions_without_an_answer(self):
        for benchmark in SCORERS:
            if benchmark != "scienceqa":  # there a missing answer is a wrong one
                with self.subTest(benchmark=benchmark):
                    files, said = self.small(benchmark)
                    self.check(files, said[:-1], "answers.jsonl", said[-1]["question_id"])

    def test_an_answers_file_that_is_none(self):
        files, said = self.small("gqa")
        path = write_answers(self.folder / "answers.jsonl", said)
        good = path.read_text().splitlines(keepends=True)
        for line in ("{\n", "[]\n", '{"question_id": "20000001"}\n', '{"text": "yes"}\n',
                     '{"question_id": "20000001", "text": 3}\n'):
            with self.subTest(line=line):
                write_text(path, "".join([good[0], line, *good[2:]]))
                self.refused(*files.flags(), "--answers", path, naming=["answers.jsonl:2"])

    def test_answers_without_the_prompt_that_tells_them_apart(self):
        for benchmark in ("textvqa", "mme"):
            with self.subTest(benchmark=benchmark):
                files, said = self.small(benchmark)
                self.check(files, [{**said[0], "prompt": "What else?\nAnswer the question using a single word or phrase."},
                                   *said[1:]],
                           "answers.jsonl:1")
                del said[1]["prompt"]
                self.check(files, said, "answers.jsonl:2", "prompt")

    def test_duplicate_questions(self):
        for benchmark in ("vqav2", "gqa", "pope"):
            with self.subTest(benchmark=benchmark):
                files, said = self.small(benchmark)
                lines = files.questions.read_text(encoding="utf-8").splitlines(keepends=True)
                write_text(files.questions, "".join([*lines, lines[1]]))
                self.check(files, said, f"{files.questions.name}:7", said[1]["question_id"])
        files, said = self.small("scienceqa")
        self.edit_json(files.questions, lambda records: records.append(records[1]))
        self.check(files, said, files.questions.name, said[1]["question_id"])
        files, said = self.plain_mmbench()
        self.edit(files.questions, ("\n11\t", "\n10\t"))
        self.check(files, said, f"{files.questions.name}:3", "10")

    def test_questions_without_annotation(self):
        def drop_first(value):
            value.pop(next(iter(value)) if isinstance(value, dict) else 0)

        for benchmark, part in (("vqav2", "annotations"), ("gqa", None), ("textvqa", "data"), ("scienceqa", None)):
            with self.subTest(benchmark=benchmark):
                files, said = self.small(benchmark)
                self.edit_json(files.annotations[0], lambda value: drop_first(value[part] if part else value))
                place = f"{files.questions.name}:1" if files.questions.suffix == ".jsonl" else files.questions.name
                self.check(files, said, place, said[0]["question_id"])

    def test_pope_labels(self):
        files, said = self.small("pope")
        lines = files.annotations[1].read_text().splitlines(keepends=True)
        write_text(files.annotations[1], lines[0])
        self.check(files, said, "coco_pope_popular.json")
        write_text(files.annotations[1], "".join([*lines, lines[0]]))
        self.check(files, said, "coco_pope_popular.json")
        for label in ("maybe", ""):
            with self.subTest(label=label):
                row = {**json.loads(lines[1]), "label": label}
                write_text(files.annotations[1], lines[0] + json.dumps(row) + "\n")
                self.check(files, said, "coco_pope_popular.json:2", label, "yes")
        files.annotations[1].unlink()
        del files.annotations[1]
        self.check(files, said, "popular")

    def test_labels_outside_their_set(self):
        files, said = self.small("mme")
        path = sorted(files.images.rglob("*.txt"))[0]
        for label in ("Maybe", ""):
            with self.subTest(label=label):
                lines = path.read_text(encoding="utf-8").split("\n")
                write_text(path, "\n".join([lines[0], lines[1].split("\t")[0] + "\t" + label, ""]))
                self.check(files, said, f"{path.name}:2", label)
        files, said = self.small("scienceqa")
        for place in (5, -1):
            with self.subTest(place=place):
                self.edit_json(files.annotations[0], lambda problems: problems[said[1]["question_id"]].update(answer=place))
                self.check(files, said, "problems.json", said[1]["question_id"], place)
        for label in ("D", "b", "nan"):  # of the three options A, B and C
            with self.subTest(label=label):
                files, said = self.plain_mmbench(answer=label)
                self.check(files, said, f"{files.questions.name}:2")
        files, said = self.small("textvqa")
        self.edit_json(files.annotations[0], lambda value: value["data"][1]["answers"].pop())
        self.check(files, said, files.annotations[0].name, 9, 10)

    def test_mme_folders(self):
        files, said = self.small("mme")
        path = sorted(files.images.rglob("*.txt"))[0]
        good = path.read_text(encoding="utf-8")
        for text, place in ((good.split("\n")[0] + "\n", path.name), (good.replace("\t", " "), f"{path.name}:1"),
                            (good * 2, path.name)):
            with self.subTest(text=text):
                write_text(path, text)
                self.check(files, said, place)
        write_text(path, good)
        next(one for one in files.images.rglob(f"{path.stem}.*") if one != path).unlink()
        self.check(files, said, path.stem)

    def plain_mmbench(self, **more):
        """Three rows of three options, each in one line of the file."""
        rows = [{"index": 10 + n, "question": "Which?", "answer": "B", "category": "c", "l2-category": "l", **traps.FRUIT}
                for n in range(3)]
        rows[0].update(more)
        files = choices.mmbench(self.folder / "mmbench", rows)
        return files, answers(files.asked, ["B"] * 3)

    def test_mmbench_table(self):
        files, said = self.plain_mmbench()
        good = files.questions.read_text()
        lines = good.split("\n")
        for name, text, place in (
                ("cut in the last row", good[:len(good) - 40], ":4"),
                ("cut in the first row", good[:len(lines[0]) + 9], ":2"),
                ("an open quote", good.replace("\n11\tWhich?", '\n11\t"Which?'), ":3"),
                ("a field too many", good.replace("\n11\tWhich?", "\n11\tWhich?\tWhat?"), ":3"),
                ("an index that is no number", good.replace("\n11\t", "\neleven\t"), ":3"),
                ("a negative index", good.replace("\n11\t", "\n-11\t"), ":3"),
                ("no column index", good.replace("index\t", "number\t"), "index"),
                ("no column A", good.replace("\tA\tB", "\tF\tB"), "A"),
                ("no rows", lines[0] + "\n", files.questions.name),
                ("nothing", "", files.questions.name)):
            with self.subTest(name):
                write_text(files.questions, text)
                self.check(files, said, files.questions.name, place)

    def test_mmbench_images(self):
        for name, picture in (("no base64", "%%%%"), ("base64 of no image", "bm8gaW1hZ2UgYXQgYWxs"), ("nothing", ""),
                              ("a cut image", base64.b64encode(images.png()[:40]).decode())):
            with self.subTest(name):
                files, _ = self.plain_mmbench(image=picture)
                self.check_asking(files, f"{files.questions.name}:2")

    def test_questions_without_image(self):
        for benchmark in ("vqav2", "gqa", "textvqa", "pope", "scienceqa"):
            with self.subTest(benchmark=benchmark):
                files, _ = self.small(benchmark)
                gone = sorted(path for path in files.images.rglob("*") if path.is_file())[0]
                gone.unlink()
                place = f"{files.questions.name}:1" if files.questions.suffix == ".jsonl" else files.questions.name
                self.check_asking(files, gone.name, place)

    def test_protocols_and_rules(self):
        for benchmark in SCORERS:
            files, said = self.small(benchmark)
            path = write_answers(self.folder / "answers.jsonl", said)
            wrong = [("--protocol", "lmm")]
            wrong += [("--rule", "leter")] if benchmark == "mmbench" else []
            wrong += [] if benchmark in LMMS else [("--protocol", "lmms")]  # unknown there, and never silently another
            for flag, value in wrong:
                with self.subTest(benchmark=benchmark, flag=flag, value=value):
                    self.refused(*files.flags(), "--answers", path, flag, value, naming=[value])


class ScorerTest(Case):
    """What the sets of files cannot show of the Python scorers, and what they refuse."""

    def refuses(self, files, said):
        with self.assertRaises(common.BadData):
            score(files, said)

    def test_normalisers(self):
        for text, evalai, official in (
                ("The Dog's, toy?", "dog 's toy", "dog's toy"), ("1,000;5", "1000 5", "10005"), ("x;y", "x y", "x y"),
                ("none", "0", "0"), ("a", "", ""), ("Im", "im", "im"), ("", "", ""),
                ("\u0665,\u0665-x", "\u0665\u0665 x", "\u0665\u0665x"),
                ("\u03a3\u0391\u03a3", "\u03c3\u03b1\u03c2", "\u03c3\u03b1\u03c2"), ("no\x1cyes", "no yes", "no yes")):
            self.assertEqual((vqa_text.evalai(text), vqa_text.official(text)), (evalai, official), text)
        self.assertEqual(len(vqa_text.CONTRACTIONS), 120)
        self.assertEqual(gqa.prediction("No.. . "), "no.. . ")

    def test_textvqa_prompts(self):
        for prompt, question in (("Q?\nS", "q?"), ("Q? \nReference OCR token: a, b\nS", "q? "),
                                 ("Reference OCR token: a\nQ?\nS", "q?"),
                                 ("OCR tokens: a. Question: Q? Short answer:", "q?")):
            self.assertEqual(textvqa.question(prompt), question)
        for prompt in ("Q?", "Q?\nx\nS", "Q?\nReference OCR token: a\n\nS", "Q?\nReference OCR token:\nS"):
            with self.assertRaises(common.BadData):
                textvqa.question(prompt)

    def test_missing_values(self):
        for text in ("", "NA", "N/A", "n/a", "NULL", "null", "NaN", "nan", "None", "<NA>", "#N/A", "-nan", "-NaN", "NAN", "nAn",
                     "NONE", "none"):
            self.assertTrue(mmbench.missing(text), text)
        for text in ("Na", "na", "Null", " nan", "0", "no", "n/A", "-none"):
            self.assertFalse(mmbench.missing(text), text)
        row = {"A": "x", "B": "N/A", "C": "y", "D": "nan"}
        self.assertEqual(mmbench.options(row), {"A": "x"})
        self.assertEqual([rule("C", row) for rule in (mmbench.letter, mmbench.vlmevalkit, mmbench.lmms)], [None, "C", "C"])

    def test_vqav2_submission(self):
        files = open_questions.vqav2_test(self.folder, [(2, 1, "What?")], [(1, 1, "Who?"), (2, 1, "What?"), (3, 2, "Why?")])
        full = self.folder / "llava_vqav2_mscoco_test2015.jsonl"
        self.assertEqual(vqav2.submission(full, answers(files.asked, ["The Dog's"])), [
            {"question_id": 1, "answer": ""}, {"question_id": 2, "answer": "dog 's"}, {"question_id": 3, "answer": ""}])

    def test_mme_submission(self):
        files = yes_no.mme(self.folder, [
            {"category": "artwork", "file": "1.jpg", "pair": [("Is it?  Please answer yes or no.", "Yes"),
                                                              ("Was it? Please answer yes or no.", "No")]}])
        self.assertEqual([question.id for question in files.asked], ["artwork/images/1.jpg"] * 2)
        self.assertEqual(mme.submission(files, answers(files.asked, ["a\tb\nc", "no"])), {"artwork": (
            "1.txt\tIs it?  Please answer yes or no.\tYes\ta b c\n1.txt\tWas it? Please answer yes or no.\tNo\tno\n")})

    def test_order(self):
        """POPE joins labels, and MME pairs, in the order of the answers, as the original scripts do."""
        files = yes_no.pope(self.folder / "pope", [{"split": "random", "image": "x.jpg", "text": "Is it?", "label": label}
                                                   for label in ("yes", "no", "no")])
        said = answers(files.asked, ["yes", "no", "no"])
        self.assertEqual(score(files, said)["score"], 1)
        self.assertEqual(score(files, said[1:] + said[:1])["score"], 0)
        rows = [{"category": "count", "file": f"{n}.png", "pair": [("Is it? Please answer yes or no.", "Yes"),
                                                                  ("Was it? Please answer yes or no.",
                                                                   "No")]} for n in range(2)]
        files = yes_no.mme(self.folder / "mme", rows)
        said = answers(files.asked, ["yes", "no", "no", "yes"])
        self.assertEqual(score(files, said)["score"], 50 + 50)
        self.assertEqual(score(files, said[::2] + said[1::2])["score"], 50)

    def test_refused(self):
        for benchmark in SCORERS:
            files, said = make.make(self.folder / benchmark, benchmark, 40, seed=1)
            with self.subTest(benchmark=benchmark):
                score(files, said)
                more = said + [{**said[0], "question_id": "count/other.png" if benchmark == "mme" else "other"}]
                self.assertEqual(score(files, more), score(files, said))
                if benchmark != "scienceqa":
                    self.refuses(files, said[:-1] if said[-1]["question_id"] != said[-2]["question_id"] else said[:-2])

    def test_same_bytes(self):
        def made(folder, seed):
            found = {}
            for benchmark in SCORERS:
                files, said = make.make(folder / benchmark, benchmark, 30, seed)
                write_answers(folder / f"{benchmark}.jsonl", said)
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                found[path.relative_to(folder)] = path.read_bytes()
            return found

        first = made(self.folder / "a", 5)
        self.assertEqual(made(self.folder / "b", 5), first)
        self.assertNotEqual(made(self.folder / "c", 6), first)


if __name__ == "__main__":
    unittest.main()
