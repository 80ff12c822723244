"""Greedy answers of `yopo generate` and `yopo eval` against those of transformers 4.57 and 5.24: for every family 20 questions about
one picture and about two, on small random checkpoints as either version writes them; eval asks them eight at once, too.

All families take two pictures in a prompt. LLaVA-OneVision's are then a square each (transformers: a list of pictures for the prompt).
Of InternVL's original layout transformers has no class: its reference is transformers' own InternVL with the same weights
(versions/original_internvl.py)."""
import json
import os
import pathlib
import shutil
import tempfile
import unittest

from support import Case
from versions_of import python, write_pictures

FAMILIES = ["llava", "llava_next", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl_qwen2", "internvl_qwen3"]
ORIGINALS = ["internvl_original_qwen2", "internvl_original_qwen3"]  # under one version, since neither writes them
# Width and height: small, wide, tall, and 5 x 5 tiles of LLaVA-OneVision, whose features are then fewer than its patches.
SIZES = [(56, 56), (90, 61), (30, 120), (150, 150), (131, 17), (28, 84), (64, 100), (143, 147)]
QUESTIONS = ["What is in the image?", "What color is it?", "How many red dogs can be seen in the park?", "Where is it?",
             "Is there one in the picture?\nAnswer the question using a single word or phrase.", "Größe? 图像 ٣ \U0001f600, don't!"]
NEW_TOKENS = 8
PLAIN = ["--dtype", "fp32", "--threads", 1, "--max-new-tokens", NEW_TOKENS]
# Of the best logit over the second, as a share of the largest: below it the last bits of a sum could choose the answer.
LEAST_MARGIN = 1e-5


def prompts_of(pictures):
    """The first question of each picture, then other questions of one picture, and of two."""
    prompts = [(QUESTIONS[0], [k]) for k in range(8)]
    prompts += [(QUESTIONS[k], [k + 2]) for k in range(1, 6)]
    prompts += [("Which one is larger?", [k, (3 * k + 1) % 8]) for k in range(4)]
    prompts += [(QUESTIONS[0], [4, 5]), (QUESTIONS[0], [5, 4]), (QUESTIONS[5], [3, 3])]
    return [{"text": text, "images": [str(pictures[k]) for k in numbers]} for text, numbers in prompts]


class AnswersTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.prompts = prompts_of(write_pictures(cls.shared, SIZES, 12, 4))
        cls.questions = cls.shared / "questions.jsonl"
        cls.questions.write_text("".join(
            json.dumps({"question_id": k, "image": [pathlib.Path(image).name for image in prompt["images"]], "text": prompt["text"],
                        "answer": "Yes"}) + "\n" for k, prompt in enumerate(cls.prompts)))

    def check_spread(self, expected):
        """That the answers say something: they differ with the question and with the picture, and no tie decides."""
        answers = [tuple(one["tokens"]) for one in expected]
        self.assertGreaterEqual(len(set(answers)), 15, "the answers hardly depend on the prompt")
        self.assertGreaterEqual(len(set(answers[:8])), 5, "the answers hardly depend on the picture")
        self.assertNotEqual(answers[17], answers[18], "the answers hardly depend on the order of the pictures")
        self.assertGreaterEqual(len({token for answer in answers for token in answer}), 30, "one token over and over")
        self.assertGreater(min(one["margin"] for one in expected), LEAST_MARGIN, "choose another seed")

    def check_generate(self, model, expected, every):
        for prompt, wanted in list(zip(self.prompts, expected, strict=True))[::every]:
            images = [part for image in prompt["images"] for part in ("--image", image)]
            found = self.yopo_json("generate", "--model", model, *images, "--prompt", prompt["text"], *PLAIN)
            with self.subTest(prompt=prompt):
                self.assertEqual(found["input_ids"], wanted["ids"])
                self.assertEqual((found["tokens"], found["stopped"]), (wanted["tokens"], wanted["stopped"]))
                self.assertEqual(found["text"], wanted["text"])

    def check_eval(self, model, expected, batch_size):
        output = self.folder / f"scores{batch_size}"
        self.yopo("eval", "--model", model, "--benchmark", "vqa", "--questions", self.questions, "--images", self.shared, "--output",
                  output, "--batch-size", batch_size, *PLAIN)
        (journal,) = (output / "answers").glob("*.jsonl")
        found = {record["question_id"]: record["text"] for record in map(json.loads, journal.read_text().splitlines())}
        shutil.rmtree(output)
        self.assertEqual(found, {k: wanted["text"] for k, wanted in enumerate(expected)})

    def check(self, version, kinds, every, batch_sizes):
        """By generate one of `every` prompts, by eval all of them."""
        folders = {kind: self.shared / version / kind / "model" for kind in kinds}
        jobs = self.folder / "jobs.json"
        jobs.write_text(json.dumps([{"kind": kind, "folder": str(folder), "prompts": self.prompts, "count": NEW_TOKENS}
                                    for kind, folder in folders.items()]))
        python(version, "answer_prompts.py", jobs)
        for kind, folder in folders.items():
            expected = json.loads((folder.parent / "answers.json").read_text())
            self.assertEqual(len(expected), 20)
            with self.subTest(family=kind):
                self.check_spread(expected)
                self.check_generate(folder, expected, every)
                for batch_size in batch_sizes:
                    with self.subTest(batch_size=batch_size):
                        self.check_eval(folder, expected, batch_size)

    def test_4(self):
        self.check("4.57", FAMILIES, every=7, batch_sizes=(1, 8))

    def test_5(self):
        # One process a prompt: every third here, all of them at night.
        every = 1 if os.environ.get("YOPO_EVERY_PROMPT") else 3
        self.check("5.24", FAMILIES + ORIGINALS, every=every, batch_sizes=(8,))


if __name__ == "__main__":
    unittest.main()
