"""Our tokenizers and prompts against transformers' and tokenizers', on thousands of texts of every kind: all equal."""

import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

import torch_cpu  # noqa: F401  transformers looks for torch
import transformers
from transformers.utils.chat_template_utils import render_jinja_template

from support import DIGITGRID, ROOT
from tokenizer_kinds import Kinds
from tokenizer_texts import every_code_point, random_text

PROGRAM = os.environ.get("YOPO_ENCODE_LINES", ROOT / "build" / "release" / "tests" / "models" / "encode_lines")
TEXTS, DECODED = 10000, 1500
FIXED = [
    "", " ", "  ", "a", " a", "a ", "\n", "\u2581", "\u2581a", "\x00", "a\x00b", "\ufeffa", "\ufffd", "e\u0301",
    "\u0301", "\u1100\u1161",
]
SYSTEM = "你是由上海人工智能实验室联合商汤科技开发的书生多模态大模型，英文名叫InternVL, 是一个有用无害的人工智能助手。"
QWEN2_VL_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}"
    "<|vision_start|><|video_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}"
    "{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

transformers.logging.set_verbosity_error()


def ask(folder, questions):
    """Our answers, one for each question."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    result = subprocess.run([str(PROGRAM), str(folder)], input=lines, capture_output=True, text=True, timeout=300)
    if result.returncode != 0:
        raise AssertionError(f"{folder.name}: encode_lines ended with {result.returncode}: {result.stderr}")
    answers = [json.loads(line) for line in result.stdout.split("\n")[:-1]]
    assert len(answers) == len(questions), (len(answers), len(questions))
    return answers


class Tokenizers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.kinds = Kinds(cls.folder)

    def equal(self, shown, questions, ours, theirs):
        wrong = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
        if wrong:
            i = wrong[0]
            self.fail(
                f"{shown}: {len(wrong)} of {len(ours)} differ; the first:\n{questions[i]!r}\n"
                f"ours   {ours[i]}\ntheirs {theirs[i]}"
            )

    def check(self, kind, more=()):
        folder, reference, specials = getattr(self.kinds, kind)()
        rng = random.Random(kind)
        texts = FIXED + [random_text(rng, specials) for _ in range(TEXTS)] + list(more)
        plain = reference(texts, add_special_tokens=False).input_ids
        # Slow classes take as long again, so only some go the whole way; all of them put the same ids around the text.
        whole = reference(texts if reference.is_fast else texts[:1000]).input_ids
        ours = ask(folder, texts)
        self.equal(kind + ", text alone", texts, [answer[1] for answer in ours], plain)
        self.equal(kind, texts, [answer[0] for answer in ours[: len(whole)]], whole)
        before, after = len(whole[0]), ours[0][0]
        self.assertEqual([len(a) - len(b) for a, b in ours], [before] * len(ours), after)

        picked = rng.sample(ours[:TEXTS], DECODED)
        given = [ids for ids, _ in picked]
        given += [[rng.randrange(len(reference)) for _ in range(rng.randint(0, 10))] for _ in range(DECODED)]
        decoded = [[reference.decode(ids, skip_special_tokens=skip) for skip in (True, False)] for ids in given]
        self.equal(kind + ", decoded", given, ask(folder, [{"ids": ids} for ids in given]), decoded)
        return ours

    def test_qwen2_json(self):
        self.check("qwen2_json", more=every_code_point())

    def test_qwen2_ignoring_merges(self):
        self.check("qwen2_ignoring_merges")

    def test_qwen2_files(self):
        self.check("qwen2_files")

    def test_qwen2_internvl(self):
        self.check("qwen2_internvl")

    def test_gpt2(self):
        self.check("gpt2", more=every_code_point()[:300])

    def test_llava_json(self):
        self.check("llava_json")

    def test_words_json(self):
        self.check("words_json", more=["<image>" * 9, "a<image>" * 9, "word<image>word word", " two words two  words"])

    def test_words_normalized_json(self):
        self.check("words_normalized_json", more=["<image>" * 9, "a <image>" * 9, "word <image> word word", " two words two  words"])

    def test_vicuna_json(self):
        self.check("vicuna_json")

    def test_phi3_json(self):
        self.check("phi3_json")

    def test_vicuna(self):
        self.check("vicuna")

    def test_llava(self):
        self.check("llava")

    def test_phi3(self):
        self.check("phi3")

    def test_internlm2(self):
        self.check("internlm2")


class Prompts(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def check_jinja(self, template, family, image):
        """Our text of a question with its images is what the template, run by transformers, makes of it; `image` is its mark of
        an image and what n visual tokens make of that."""
        (self.folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
        for images in ([], [3], [4, 1]):
            messages = [
                {"role": "user", "content": [{"type": "image"}] * len(images) + [{"type": "text", "text": "What is it?"}]}
            ]
            rendered = render_jinja_template(conversations=[messages], chat_template=template, add_generation_prompt=True)[
                0
            ][0]
            parts = rendered.split(image[0])
            expected = parts[0] + "".join(image[1](n) + part for n, part in zip(images, parts[1:], strict=True))
            answer = ask(self.folder, [{"question": "What is it?", "family": family, "images": images}])[0]
            self.assertEqual(answer, expected)

    def test_qwen2_vl(self):
        self.check_jinja(QWEN2_VL_TEMPLATE, "qwen2_vl", ("<|image_pad|>", lambda n: "<|image_pad|>" * n))

    def test_llava(self):
        template = json.loads((DIGITGRID / "model" / "chat_template.json").read_text())["chat_template"]
        self.check_jinja(template, "llava", ("<image>", lambda n: "<image>" * n))

    def test_internvl(self):
        """By the rule of its conversation templates: every turn is role, text, separator."""
        for name, (system, user, assistant, sep) in {
            "internlm2-chat": ("<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>"),
            "Hermes-2": ("<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>"),
            "phi3-chat": ("<|system|>\n", "<|user|>\n", "<|assistant|>\n", "<|end|>"),
        }.items():
            (self.folder / "config.json").write_text(json.dumps({"model_type": "internvl_chat", "template": name}))
            for images in ([], [5], [2, 3]):
                query = system + SYSTEM + sep + user + "<image>\n" * len(images) + "What is it?" + sep + assistant
                for count in images:
                    query = query.replace("<image>", "<img>" + "<IMG_CONTEXT>" * count + "</img>", 1)
                answer = ask(self.folder, [{"question": "What is it?", "family": "internvl2", "images": images}])[0]
                self.assertEqual(answer, query, name)


if __name__ == "__main__":
    unittest.main()
