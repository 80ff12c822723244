"""Chat templates of checkpoints: our prompts against transformers' own rendering, text by text and token by token; and the flag
--template wherever prompts are made."""
import json
import random
import re
import shutil
import unittest

from chat_templates import PARTS, TEXT
from digitgrid_hf import HuggingFace
from jinja2.exceptions import TemplateError
from PIL import Image
from support import CALIB, MODEL, TEST, Case, run
from test_tokenizers import QWEN2_VL_TEMPLATE, ask
from transformers.utils.chat_template_utils import render_jinja_template

QUESTION = "How many digits are there?"
QUESTIONS = [QUESTION, "  blanks around it \n", "'quotes' and {{ braces }} {% x %}", "Größe? 图像 \U0001f600"]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
MUTATIONS, LEAST = 6000, 400  # most of them are no Jinja any more


def message(question, images, text_mark=None):
    """A user's turn; `text_mark`: what stands for an image where the message is one text."""
    if text_mark is not None:
        return {"role": "user", "content": text_mark * images + question}
    return {"role": "user", "content": [{"type": "image"}] * images + [{"type": "text", "text": question}]}


def rendered(template, messages, **variables):
    return render_jinja_template(conversations=[messages], chat_template=template, add_generation_prompt=True, **variables)[0][0]


class RenderingTest(Case):
    def setUp(self):
        super().setUp()
        (self.folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **TOKENS}))

    def check(self, template, family, placeholder, text_mark):
        (self.folder / "chat_template.jinja").write_text(template)
        counts = [[], [3], [2, 1]]
        asked = [{"question": q, "family": family, "images": images} for q in QUESTIONS for images in counts]
        for answer, one in zip(ask(self.folder, asked), asked, strict=True):
            parts = rendered(template, [message(one["question"], len(one["images"]), text_mark)], **TOKENS).split(placeholder)
            expected = parts[0] + "".join(placeholder * n + part for n, part in zip(one["images"], parts[1:], strict=True))
            self.assertEqual(answer, expected)

    def test_lists_of_parts(self):
        for name, template in PARTS.items():
            with self.subTest(name):
                if "map(" in template:  # refused where it would run, and here it would not
                    self.assertIn("if false", template)
                self.check(template, "llava", "<image>", None)

    def test_texts(self):
        for name, template in TEXT.items():
            with self.subTest(name):
                self.check(template, "llava", "<image>", "<image>\n")

    def test_qwen2_vl(self):
        self.check(QWEN2_VL_TEMPLATE, "qwen2_vl", "<|image_pad|>", None)
        for name in ("qwen", "factory-qwen", "factory-chatml"):
            with self.subTest(name):
                self.check(TEXT[name], "qwen2_vl", "<|image_pad|>", "<|vision_start|><|image_pad|><|vision_end|>")

    def test_forms_of_trainers(self):
        """What can be picked by name is what such templates write, but for a bos token, which the tokenizer adds."""
        for name, templates in {"chatml": ["chatml", "chatml-parts", "factory-chatml"], "phi-3": ["phi-3", "phi-3-later", "factory-phi"],
                                "llama-2": ["llama-2", "factory-llama-2", "mistral"], "mistral_instruct": ["llava-next-mistral"],
                                "llama-3": ["llama-3", "factory-llama-3"], "llava-hf": ["llava-1.5"]}.items():
            ours = ask(self.folder, [{"question": QUESTION, "family": "llava", "images": [2], "template": name}])[0]
            for one in templates:
                with self.subTest(form=name, template=one):
                    mark = None if one in PARTS else "<image>\n"
                    text = rendered({**PARTS, **TEXT}[one], [message(QUESTION, 1, mark)], **TOKENS).removeprefix("<s>")
                    self.assertEqual(ours, text.replace("<image>", "<image>" * 2))

    def test_changed_templates(self):
        """Templates taken apart at random: where ours writes something, it is what Jinja writes."""
        rng = random.Random(3)
        pieces = re.compile(r"\{[%{#][+-]?|[+-]?[%}#]\}|'(?:[^'\\]|\\.)*'|\w+|\s+|.", re.S)
        texts = [pieces.findall(text) for text in [*PARTS.values(), *TEXT.values(), QWEN2_VL_TEMPLATE]]
        every = sorted({piece for text in texts for piece in text} | {"-%}", "{%-", "{{-", "+%}", "~", "not ", "\n", "is none", "1"})
        conversations = [[message(QUESTION, 2)], [message(QUESTION, 2, "<image>\n")]]
        asked, expected = [], []
        while len(asked) < MUTATIONS:
            text = list(rng.choice(texts))
            for _ in range(rng.randint(1, 3)):
                at, kind = rng.randrange(len(text)), rng.randrange(4)
                text[at : at + (kind != 0)] = [] if kind == 1 else [rng.choice(every if kind != 3 else text)]
            template, messages = "".join(text), rng.choice(conversations)
            try:
                result = rendered(template, messages, tools=None, documents=None, **TOKENS)
            except (TemplateError, TypeError, AttributeError, ValueError, KeyError, ZeroDivisionError, OverflowError, IndexError):
                result = None
            asked.append({"jinja": template, "variables": {"messages": messages, "add_generation_prompt": True, "tools": None,
                                                           "documents": None, **TOKENS}})
            expected.append(result)
        same = refused = 0
        for one, ours, theirs in zip(asked, ask(self.folder, asked), expected, strict=True):
            if "text" in ours:
                self.assertEqual(ours["text"], theirs, one["jinja"])
                same += 1
            elif theirs is not None:
                refused += 1
        print(f"{same} equal, {refused} refused that Jinja writes, of {MUTATIONS}", flush=True)
        self.assertGreater(same, LEAST, "too few were written for this test to show much")


class TokensTest(Case):
    def test_as_the_processor(self):
        """The ids of a prompt with its image, through transformers' processor."""
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        reference = HuggingFace(MODEL)
        sample = TEST.samples()[0]
        with Image.open(TEST.images / sample["image"]) as opened:
            image = opened.convert("RGB")
        for name, template in {**PARTS, **TEXT}.items():
            with self.subTest(name):
                (model / "chat_template.jinja").write_text(template)
                mark = "<image>\n" if name in TEXT else None
                text = rendered(template, [message(sample["text"], 1, mark)], **TOKENS)
                expected = reference.processor(text=text, images=image, add_special_tokens=not text.startswith("<s>"))
                found = self.yopo_json("generate", "--model", model, "--image", TEST.images / sample["image"], "--prompt",
                                       sample["text"], "--max-new-tokens", 1)
                self.assertEqual(found["input_ids"], list(expected["input_ids"][0]))


class FlagTest(Case):
    """A template that cannot be run stops every command, which names the way out; with that all of them go on."""

    def setUp(self):
        super().setUp()
        self.model = self.folder / "model"
        shutil.copytree(MODEL, self.model)
        (self.model / "chat_template.json").write_text(json.dumps({"chat_template": "{{ strftime_now('%Y') }}{{ messages | tojson }}"}))

    def refused(self, *arguments):
        result = run(*arguments)
        self.assertEqual(result.returncode, 2, result.stdout + result.stderr)
        self.assertIn("chat_template.json: chat_template: line 1: the function 'strftime_now' is not supported", result.stderr)
        self.assertIn("(--template NAME, in a recipe model.template) are vicuna_v1, llava-hf", result.stderr)

    def both(self, *arguments):
        self.refused(*arguments)
        return self.yopo(*arguments, "--template", "llava-hf")

    def test_commands(self):
        stats, plan, pruned = self.folder / "stats.h5", self.folder / "plan.json", self.folder / "pruned"
        self.both("calibrate", "--model", self.model, *CALIB.flags(), "--samples", 6, "--output", stats)
        # Another template is another calibration.
        result = run("calibrate", "--model", self.model, *CALIB.flags(), "--samples", 6, "--output", stats, "--template", "vicuna_v1")
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertIn("template llava-hf; now: queries prefill, fp32, template vicuna_v1", result.stderr)
        self.yopo("plan", "--stats", stats, "--model", self.model, "--ffn-keep", 0.5, "--output", plan)
        self.yopo("export", "--model", self.model, "--plan", plan, "--output", pruned)
        self.both("verify", "--model", pruned, "--original", self.model, *CALIB.flags(), "--samples", 2, "--max-new-tokens", 2)
        scores = ["eval", "--model", pruned, "--benchmark", "vqa", *TEST.flags(), "--samples", 5, "--output", self.folder / "scores"]
        self.both(*scores)
        result = run(*scores, "--template", "vicuna_v1")
        self.assertEqual(result.returncode, 2, "answers to other prompts were taken for these: " + result.stderr)
        question = ["generate", "--model", pruned, "--prompt", QUESTION, "--max-new-tokens", 2, "--json"]
        ids = json.loads(self.both(*question).stdout)["input_ids"]
        self.assertEqual(ids, self.yopo_json("generate", "--model", MODEL, "--prompt", QUESTION, "--max-new-tokens", 2)["input_ids"])
        result = run(*question, "--template", "llava-hg")
        self.assertEqual(result.returncode, 2)
        self.assertIn("did you mean 'llava-hf'?", result.stderr)

    def test_recipe(self):
        recipe = self.folder / "recipe.yaml"
        text = f"""
model: {{path: {self.model}MORE}}
output: {self.folder}/out
calibration: {{dataset: {{questions: {CALIB.questions}, images: {CALIB.images}, samples: 4}}}}
plan: {{ffn: {{keep: 0.5}}}}
verify: {{samples: 1}}
evaluate: [{{benchmark: vqa, questions: {TEST.questions}, images: {TEST.images}, samples: 4}}]
"""
        recipe.write_text(text.replace("MORE", ""))
        self.refused("run", recipe)
        dry = run("run", recipe, "--dry-run", "--json")
        self.assertEqual(dry.returncode, 1, dry.stderr)
        self.assertIn("strftime_now", json.loads(dry.stdout)["problems"][0])
        shutil.rmtree(self.folder / "out")
        recipe.write_text(text.replace("MORE", ", template: llava-hf"))
        self.yopo("run", recipe)
        self.assertIn('template: "llava-hf"', (self.folder / "out" / "recipe.yaml").read_text())
        # The flag says the same as the key.
        recipe.write_text(text.replace("MORE", ""))
        again = self.yopo("run", recipe, "--template", "llava-hf")
        self.assertIn("as answered in", again.stderr)


class ContextTest(Case):
    """An answer whose limit leads beyond the model's 512 positions is told of, once."""

    def warnings(self, *arguments):
        return [line for line in self.yopo(*arguments).stderr.splitlines() if "the model's context" in line]

    def test_generate(self):
        question = ["generate", "--model", MODEL, "--prompt", QUESTION, "--image", TEST.images / "0000.png", "--max-new-tokens"]
        prompt = len(self.yopo_json(*question, 1)["input_ids"])
        self.assertEqual(self.warnings(*question, 513 - prompt), [])
        (line,) = self.warnings(*question, 514 - prompt)
        self.assertIn(f"generate: a prompt of {prompt} tokens with an answer of up to {514 - prompt}; the model's context", line)
        self.assertIn("is 512", line)

    def test_eval(self):
        flags = ["eval", "--model", MODEL, "--benchmark", "vqa", *TEST.flags(), "--samples", 6, "--batch-size", 2]
        self.assertEqual(self.warnings(*flags, "--max-new-tokens", 4, "--output", self.folder / "short"), [])
        self.assertEqual(len(self.warnings(*flags, "--max-new-tokens", 500, "--output", self.folder / "long")), 1)


if __name__ == "__main__":
    unittest.main()
