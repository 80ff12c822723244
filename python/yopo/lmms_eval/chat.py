"""The model `yopo` of lmms-eval: one class for all families, since processors and chat templates are the checkpoint's own.

lmms-eval's own classes a family load the dense model, word prompts by themselves (a system prompt of their own, JPEG
pictures) and score an error of the model as an empty answer. Here prompts are what the checkpoint's chat template writes,
as in `yopo eval`, and an error ends the run.
"""

from __future__ import annotations

import time
from typing import Any, Sequence

import torch
from accelerate import Accelerator
from lmms_eval import utils
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.model_utils.gen_metrics import log_metrics
from lmms_eval.protocol import ChatMessages
from loguru import logger
from PIL import Image
from tqdm import tqdm
from transformers import AutoModelForImageTextToText, AutoProcessor

import yopo.transformers
from yopo import PlanError

# As lmms-eval's classes have them, where a task does not say.
_GENERATION = {"max_new_tokens": 1024, "temperature": 0, "top_p": None, "num_beams": 1}


class Yopo(lmms):
    """`--model_args`:

    pretrained  the folder of a checkpoint that `yopo export` wrote; PlanError for any other
    budget      one of an elastic checkpoint's plans (default: its own default)
    dense       True: the same checkpoint without its plan, to compare with
    dtype       float32, bfloat16, float16 or auto (the checkpoint's own)
    device, device_map, attn_implementation, trust_remote_code    as from_pretrained takes them
    min_pixels, max_pixels    of Qwen's image processors (default: the checkpoint's own)
    """

    is_simple = False

    def __init__(
        self,
        pretrained: str,
        *,
        budget: float | str | None = None,
        dense: bool = False,
        dtype: str = "auto",
        device: str | None = None,
        device_map: str | None = None,
        batch_size: int | str = 1,
        attn_implementation: str | None = None,
        trust_remote_code: bool = False,
        min_pixels: int | None = None,
        max_pixels: int | None = None,
    ) -> None:
        super().__init__()
        self.accelerator = Accelerator()
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes
        self._device = self.accelerator.device if self._world_size > 1 or device is None else torch.device(device)
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise PlanError(f"batch_size: expected a number from 1 on, found {batch_size}")
        self.batch_size = int(batch_size)
        loading = {"dtype": dtype, "attn_implementation": attn_implementation, "trust_remote_code": trust_remote_code}
        loading["device_map"] = device_map or str(self._device)
        if not dense:
            self.model = yopo.transformers.load(pretrained, budget=budget, **loading).eval()
            logger.info(f"runs pruned: {yopo.transformers.plan_in_use(self.model)}")
        elif budget is None:
            self.model = AutoModelForImageTextToText.from_pretrained(pretrained, **loading).eval()
        else:
            raise PlanError(f"dense=True runs without a plan, and budget={budget} picks one: give one of them")
        pixels = {name: count for name, count in (("min_pixels", min_pixels), ("max_pixels", max_pixels)) if count is not None}
        self.processor = AutoProcessor.from_pretrained(pretrained, trust_remote_code=trust_remote_code, **pixels)
        self.processor.tokenizer.padding_side = "left"

    @property
    def device(self) -> torch.device:
        return self._device

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Answers in the order of the requests. Those with the same settings are asked in batches, long prompts first."""
        order = utils.Collator([request.args for request in requests], lambda x: (-len(x[0]), x[0]), group_fn=lambda x: x[2], grouping=True)
        answers: list[GenerationResult] = []
        seconds = 0.0
        with tqdm(total=len(requests), disable=self.rank != 0, desc="Model Responding") as progress:
            for chunk in order.get_batched(n=self.batch_size):
                messages = [
                    ChatMessages(messages=to_messages(self.task_dict[task][split][doc]))
                    for _, to_messages, _, doc, task, split in chunk
                ]
                started = time.monotonic()
                answers += self._answer(messages, chunk[0][2])
                seconds += time.monotonic() - started
                progress.update(len(chunk))
        tokens = sum(answer.token_counts.output_tokens for answer in answers)
        log_metrics(total_gen_tokens=tokens, total_elapsed_time=seconds, avg_speed=tokens / seconds if seconds else 0)
        return order.get_original(answers)

    @torch.inference_mode()
    def _answer(self, conversations: Sequence[ChatMessages], settings: dict[str, Any]) -> list[GenerationResult]:
        inputs = self._inputs(conversations)
        settings = {**_GENERATION, **settings}
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if settings["temperature"] and settings["temperature"] > 0:
            sampling = {"do_sample": True, "temperature": settings["temperature"], "top_p": settings["top_p"]}
        tokenizer = self.processor.tokenizer
        made = self.model.generate(
            **inputs,
            **sampling,
            num_beams=settings["num_beams"],
            max_new_tokens=settings["max_new_tokens"],
            pad_token_id=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        )[:, inputs["input_ids"].shape[1] :]
        stops = settings.get("until") or []
        results = []
        for row in made:
            text = tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            for stop in [stops] if isinstance(stops, str) else stops:
                text = text.split(stop)[0] if stop else text
            counted = int((row != tokenizer.pad_token_id).sum())
            results.append(GenerationResult(text=text, token_counts=TokenCounts(output_tokens=counted)))
        return results

    def _inputs(self, conversations: Sequence[ChatMessages]) -> dict[str, torch.Tensor]:
        """Of one batch, padded on the left, on the model's device and in its type."""
        texts, pictures = [], []
        for conversation in conversations:
            images, videos, sounds = conversation.extract_media()
            if videos or sounds:
                raise PlanError("the task asks about videos or sounds; pruned checkpoints take pictures alone")
            texts.append(self.processor.apply_chat_template(conversation.to_hf_messages(), tokenize=False, add_generation_prompt=True))
            pictures += [_rgb(image) for image in images]
        bos = self.processor.tokenizer.bos_token
        # As apply_chat_template does where it tokenizes by itself: templates that write the first token want no second one.
        extra = {"add_special_tokens": False} if bos and texts[0].startswith(bos) else {}
        inputs = self.processor(text=texts, images=pictures or None, padding=True, return_tensors="pt", **extra)
        inputs.pop("token_type_ids", None)  # the tokenizer class adds it, and no model here has a use for it
        return dict(inputs.to(self.device, self.model.dtype))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError("the model yopo answers; tasks that score given answers by their likelihood are not supported")

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise NotImplementedError("the model yopo answers in one round; tasks of several rounds are not supported")


def _rgb(image: Any) -> Image.Image:
    """A picture of a task, or the path of one."""
    if not isinstance(image, Image.Image):
        with Image.open(image) as opened:
            return opened.convert("RGB")
    return image.convert("RGB")
