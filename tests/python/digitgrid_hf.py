"""The demo models through Hugging Face transformers' own, unmodified loader: fp32, eager attention, one sample at a time."""
import torch_cpu  # noqa: F401  (before torch)
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()

PROMPT = "USER: <image>\n{} ASSISTANT:"


class HuggingFace:
    def __init__(self, folder):
        self.processor = AutoProcessor.from_pretrained(folder, use_fast=False)
        self.model = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()

    def inputs(self, sample, images):
        """Model inputs of one record of a question file."""
        with Image.open(images / sample["image"]) as image:
            inputs = self.processor(text=PROMPT.format(sample["text"]), images=image.convert("RGB"), return_tensors="pt")
        inputs.pop("token_type_ids", None)  # the tokenizer class adds it; LLaVA has no use for it
        return inputs

    @torch.no_grad()
    def logits(self, inputs):
        """[T, V]"""
        return self.model(**inputs).logits[0]

    @torch.no_grad()
    def answer(self, inputs, max_new_tokens):
        ids = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)[0, inputs["input_ids"].shape[1]:]
        return self.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
