"""Small random checkpoints of Qwen2-VL and InternVL2 in the files that published ones have, questions about drawn images, and
Qwen2-VL through transformers."""
import copy
import json
import pathlib
import sys

import torch_cpu  # noqa: F401  (before torch)
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Qwen2TokenizerFast, Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

from support import ROOT, run
from test_image_processors import noise
from test_tokenizers import QWEN2_VL_TEMPLATE

sys.path.append(str(ROOT / "benchmarks"))
from make_tokenizer import make_tokenizer  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

torch.set_num_threads(1)

SCALE = 0.15  # of random weights: logits differ clearly, and what is in the image shows in them
# Width and height: wide, tall, below Qwen2-VL's min_pixels, above its max_pixels, and one to several tiles of InternVL2.
SIZES = [(112, 112), (200, 60), (40, 170), (31, 45), (420, 300), (333, 77), (98, 140), (60, 58), (250, 251), (150, 100)]
TEXTS = ["What is in the image?", "What color is it?", "How many red dogs can be seen in the park?", "Where is it?",
         "Is there one in the picture?\nAnswer the question using a single word or phrase.", "Größe? 图像 ٣ \U0001f600, don't!"]


def published(name):
    """The config of configs/models/NAME.json."""
    return json.loads((ROOT / "configs" / "models" / f"{name}.json").read_text())


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


class Questions:
    """A question file with an answer to each, about images of all `SIZES`."""

    def __init__(self, folder, count=len(SIZES)):
        self.folder, self.images = folder, folder / "images"
        self.questions = folder / "questions.jsonl"
        self.images.mkdir(parents=True)
        rng = np.random.default_rng(7)
        self.samples = []
        for i in range(count):
            name = f"{i}.png"
            Image.fromarray(noise(rng, *SIZES[i % len(SIZES)])).save(self.images / name)
            self.samples.append({"question_id": i, "image": name, "text": TEXTS[i % len(TEXTS)]})
        self.questions.write_text("".join(json.dumps(s) + "\n" for s in self.samples), encoding="utf-8")
        (folder / "answers.jsonl").write_text("".join(json.dumps({"question_id": i, "text": "Yes"}) + "\n" for i in range(count)))

    def flags(self):
        return ["--questions", self.questions, "--images", self.images]

    def image(self, sample):
        return self.images / sample["image"]


def draw_weights(tensors):
    """Random numbers of a fixed seed in place of every tensor's; norms and layer scales stay near 1."""
    generator = torch.Generator().manual_seed(5)
    for name, tensor in tensors.items():
        tensor.normal_(0, SCALE, generator=generator)
        if name.endswith((".ls1", ".ls2")) or tensor.dim() == 1 and name.endswith("weight"):
            tensor.add_(1)


def qwen2_vl_config(tied):
    """As published: text keys at the top level."""
    config = published("qwen2-vl-7b")
    config.update(hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                  vocab_size=1664, max_position_embeddings=512, tie_word_embeddings=tied, bos_token_id=1600, eos_token_id=1602,
                  vision_start_token_id=1609, vision_end_token_id=1610, vision_token_id=1611, image_token_id=1612,
                  video_token_id=1613, torch_dtype="float32")
    config["rope_scaling"]["mrope_section"] = [2, 3, 3]
    config["vision_config"].update(depth=2, embed_dim=32, hidden_size=64, num_heads=2, mlp_ratio=2)
    return config


def new_key(name):
    """A tensor's name since transformers 4.52."""
    return "model." + name if name.startswith("visual.") else name.replace("model.", "model.language_model.", 1)


def make_qwen2_vl(folder, tied=False, form="published"):
    """`form`: "published" (flat config.json, keys before transformers 4.52), "saved" (whatever save_pretrained writes) or
    "new_keys" (its config.json with the keys since 4.52)."""
    config = qwen2_vl_config(tied)
    model = Qwen2VLForConditionalGeneration(Qwen2VLConfig(**copy.deepcopy(config))).eval()
    draw_weights({name: parameter.data for name, parameter in model.named_parameters()})
    model.save_pretrained(folder)
    weights = folder / "model.safetensors"
    stored = load_file(weights)
    assert ("lm_head.weight" in stored) != tied and "model.embed_tokens.weight" in stored
    if form == "new_keys":
        save_file({new_key(name): tensor for name, tensor in stored.items()}, weights, {"format": "pt"})
    saved = (folder / "config.json").read_text()
    assert "text_config" in json.loads(saved)
    write_json(folder / "config.json", config)
    make_tokenizer(folder)  # reads the ids, which save_pretrained spreads over two objects
    if form != "published":
        (folder / "config.json").write_text(saved)
    write_json(folder / "chat_template.json", {"chat_template": QWEN2_VL_TEMPLATE})
    write_json(folder / "generation_config.json", {"bos_token_id": 1600, "pad_token_id": 1600, "eos_token_id": [1602, 1600]})
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    write_json(folder / "preprocessor_config.json", {**preprocessor, "min_pixels": 56 * 56, "max_pixels": 28 * 28 * 40})
    return folder


class Qwen2Vl:
    """A folder through transformers' own loader and processor: fp32, eager attention, one sample at a time."""

    def __init__(self, folder):
        tokenizer = Qwen2TokenizerFast.from_pretrained(folder)
        template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
        # The video processor wants torchvision, and no video is asked about.
        self.processor = Qwen2VLProcessor.__new__(Qwen2VLProcessor)
        self.processor.image_processor, self.processor.tokenizer = Qwen2VLImageProcessor.from_pretrained(folder), tokenizer
        self.processor.video_processor, self.processor.chat_template = None, template
        self.processor.image_token, self.processor.video_token = "<|image_pad|>", "<|video_pad|>"
        self.processor.image_token_id, self.processor.video_token_id = 1612, 1613
        self.model = Qwen2VLForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()

    def inputs(self, text, images):
        """Model inputs of one question about image files."""
        content = [{"type": "image"}] * len(images) + [{"type": "text", "text": text}]
        prompt = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        opened = [Image.open(path).convert("RGB") for path in images]
        return self.processor(text=[prompt], images=opened or None, return_tensors="pt")

    @torch.no_grad()
    def logits(self, inputs):
        """[T, V]"""
        return self.model(**inputs).logits[0]

    @torch.no_grad()
    def answer(self, inputs, count):
        """At most `count` tokens, and their text."""
        ids = self.model.generate(**inputs, max_new_tokens=count, do_sample=False)[0, inputs["input_ids"].shape[1]:]
        return ids.tolist(), self.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()


def internvl2_config(name, side=112):
    """configs/models/NAME.json cut down to tiles of `side` pixels, a quarter of (side / 14)^2 visual tokens each."""
    config = published(name)
    config.update(force_image_size=side, max_dynamic_patch=6, torch_dtype="float32")
    phi3 = name == "internvl2-4b"
    llm, vision = config["llm_config"], config["vision_config"]
    llm.update(hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4,
               num_key_value_heads=4 if phi3 else 2, vocab_size=1820 if phi3 else 1600, max_position_embeddings=2048)
    if phi3:
        factors = llm["rope_scaling"]
        llm.update(original_max_position_embeddings=1024, sliding_window=4096, eos_token_id=1800, pad_token_id=1800)
        factors.update(short_factor=factors["short_factor"][:8], long_factor=factors["long_factor"][:8])
    vision.update(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=side)
    return config


def make_internvl2(folder, name, side=112, config=None):
    """Through `yopo random`, whose weights are then drawn anew: at so small a width 0.02 leaves everything alike."""
    source = folder.parent / f"{folder.name}.json"
    write_json(source, config or internvl2_config(name, side))
    made = run("random", "--config", source, "--output", folder, "--dtype", "fp32")
    if made.returncode != 0:
        raise AssertionError(made.stderr)
    tensors = load_file(folder / "model.safetensors")
    draw_weights(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    make_tokenizer(folder)
    for module in ("configuration_internvl_chat.py", "modeling_internvl_chat.py"):
        (folder / module).write_text(f'"""Stands for the published {module}."""\n')
    return folder


def stored_tensors(folder):
    """Name -> tensor of all shards."""
    return {name: tensor for path in sorted(pathlib.Path(folder).glob("*.safetensors")) for name, tensor in load_file(path).items()}
