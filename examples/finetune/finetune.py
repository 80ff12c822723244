"""Fine-tunes a pruned LLaVA with transformers' Trainer: each step computes what inference will compute.

    python finetune.py settings/llava-1.5-7b-25.json --model out/pruned --data llava_v1_5_mix665k.json --images images
    torchrun --nproc-per-node 8 finetune.py settings/llava-1.5-7b-25.json --model ... --fsdp_config fsdp.json

A settings file has any of the arguments by name; those of the command line count more.
"""

import json
import pathlib
import shutil
import sys
from dataclasses import dataclass, field

import torch
import transformers
from conversations import Collator, Conversations, GroupedSampler

import distillation
import yopo
import yopo.transformers

NEXT_TO_WEIGHTS = ("preprocessor_config.json", "processor_config.json", "chat_template.json", "chat_template.jinja", "tokenizer.json",
                   "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass
class Settings:
    model: str = field(metadata={"help": "folder of the pruned checkpoint"})
    data: str = field(metadata={"help": "conversations in LLaVA's format"})
    images: str | None = field(default=None, metadata={"help": "folder of the pictures that they name"})
    budget: str | None = field(default=None, metadata={"help": "which plan of an elastic checkpoint"})
    dense: bool = field(default=False, metadata={"help": "train the checkpoint whole, to compare with"})
    mm_projector: str | None = field(default=None, metadata={"help": "mm_projector.bin to start from"})
    train_language_model: bool = True
    train_projector: bool = True
    longest: int = field(default=2048, metadata={"help": "tokens of a sample; what is longer is cut"})
    pad_to_square: bool = field(default=False, metadata={"help": "pad pictures with the mean colour, as LLaVA-1.5 was trained"})
    group: bool = field(default=True, metadata={"help": "group samples by modality and length"})
    lora_rank: int = field(default=0, metadata={"help": "0: all weights are trained"})
    lora_alpha: int = 256
    lora_dropout: float = 0.05
    distill: float = field(default=0.0, metadata={"help": "share of the loss that is the distance to the dense model's answers; the rest is the labels'"})
    distill_temperature: float = 1.0
    weights: str = field(default="float32", metadata={"help": "type of the trained weights: float32, bfloat16"})
    attention: str = "sdpa"


def parse(arguments):
    """A settings file, if the first argument is one, and flags over it."""
    parser = transformers.HfArgumentParser((Settings, transformers.TrainingArguments))
    given = []
    if arguments and arguments[0].endswith(".json"):
        for name, value in json.loads(pathlib.Path(arguments[0]).read_text()).items():
            given += [f"--{name}", json.dumps(value) if isinstance(value, (dict, list)) else str(value)]
        arguments = arguments[1:]
    return parser.parse_args_into_dataclasses(given + list(arguments))


def load_projector(model, path):
    """LLaVA's mm_projector.bin, whose layers 0 and 2 are linear."""
    names = {"0": "linear_1", "2": "linear_2"}
    stored = torch.load(path, map_location="cpu", weights_only=True)
    projector, found = model.model.multi_modal_projector, {}
    for name, value in stored.items():
        at, part = name.split("mm_projector.")[-1].split(".")
        if at not in names:
            raise SystemExit(f"{path}: {name}: expected layers 0 and 2 of a projector of two layers")
        found[f"{names[at]}.{part}"] = value
    projector.load_state_dict(found)


def with_lora(model, settings):
    import peft

    return peft.get_peft_model(model, peft.LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, lora_dropout=settings.lora_dropout,
        target_modules=r".*language_model.*\.(q|k|v|o|gate|up|down)_proj",
        modules_to_save=["multi_modal_projector"] if settings.train_projector else None))


def prepare(settings):
    arguments = {"dtype": getattr(torch, settings.weights), "attn_implementation": settings.attention}
    if settings.dense:
        model = transformers.AutoModelForImageTextToText.from_pretrained(settings.model, **arguments)
    else:
        model = yopo.transformers.load(settings.model, budget=settings.budget, **arguments)
    if settings.mm_projector:
        load_projector(model, settings.mm_projector)
    model.config.use_cache = False
    model.model.vision_tower.requires_grad_(False)
    model.model.multi_modal_projector.requires_grad_(settings.train_projector)
    model.model.language_model.requires_grad_(settings.train_language_model)
    model.lm_head.requires_grad_(settings.train_language_model)
    return with_lora(model, settings) if settings.lora_rank else model


def teacher_of(model, settings, training):
    """What the model shall learn to answer like: the same checkpoint, dense."""
    if not settings.distill:
        return None
    if settings.dense or not 0 < settings.distill <= 1:
        raise SystemExit("distill: expected a share from 0 to 1, and a model that is trained pruned")
    if settings.lora_rank:
        return distillation.OwnWeights(model)
    low = torch.bfloat16 if training.bf16 else torch.float16 if training.fp16 else getattr(torch, settings.weights)
    teacher = transformers.AutoModelForImageTextToText.from_pretrained(settings.model, dtype=low, attn_implementation=settings.attention)
    if settings.mm_projector:
        load_projector(teacher, settings.mm_projector)
    return distillation.Copy(teacher)


class Trainer(transformers.Trainer):
    grouped = True
    teacher = None
    share, temperature = 0.0, 1.0

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.teacher is not None:
            asked = {name: value for name, value in inputs.items() if name != "labels"}
            count = num_items_in_batch if self.model_accepts_loss_kwargs else None
            far = distillation.divergence(outputs.logits, self.teacher.logits(model, asked), inputs["labels"], self.temperature, count)
            if count is not None and self.args.average_tokens_across_devices:
                far = far * self.accelerator.num_processes  # as the label loss, whose gradients are averaged over processes
            loss = (1 - self.share) * loss + self.share * far
        return (loss, outputs) if return_outputs else loss

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        """transformers 4.57 saves LLaVA under its older names of tensors, and its Trainer then finds none of them when it
        resumes, without a word: weights are loaded as from_pretrained does, which knows both."""
        model = self.model if model is None else model
        if self.is_fsdp_enabled or self.is_deepspeed_enabled or hasattr(model, "peft_config"):
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        stored = transformers.AutoModelForImageTextToText.from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(stored.state_dict())

    def _get_train_sampler(self, *unused):
        if not self.grouped:
            return super()._get_train_sampler(*unused)
        return GroupedSampler(self.train_dataset, self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps, self.args.world_size, self.args.seed)


def last_checkpoint(folder):
    """The newest checkpoint to go on from. A run that was killed while it wrote one leaves a part: the state comes last."""
    numbers = {}
    for path in pathlib.Path(folder).glob("checkpoint-*"):
        try:
            json.loads((path / "trainer_state.json").read_text())
            numbers[int(path.name.split("-")[1])] = str(path)
        except (OSError, ValueError):
            continue
    return numbers[max(numbers)] if numbers else None


def finish(trainer, settings):
    """The result as a pruned checkpoint, for `yopo verify`, `yopo eval` and yopo.transformers.load."""
    output = pathlib.Path(trainer.args.output_dir)
    if settings.lora_rank:
        model = trainer.accelerator.unwrap_model(trainer.model)
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:  # each process has a part of the weights
            state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
            if trainer.args.should_save:
                model = prepare(settings)
                model.load_state_dict(state)
        if trainer.args.should_save:
            model.merge_and_unload().save_pretrained(output)
    else:
        trainer.save_model()
    if not trainer.args.should_save:
        return
    for leftover in ("adapter_config.json", "adapter_model.safetensors"):
        (output / leftover).unlink(missing_ok=True)
    for name in NEXT_TO_WEIGHTS:
        if (pathlib.Path(settings.model) / name).is_file():
            shutil.copy2(pathlib.Path(settings.model) / name, output / name)
    if not settings.dense:
        yopo.transformers.write_plan(yopo.plan_of_checkpoint(settings.model, settings.budget, trainer.model.config.get_text_config().to_dict()), output)


def main(arguments):
    settings, training = parse(arguments)
    training.remove_unused_columns = False
    transformers.set_seed(training.seed)
    processor = transformers.AutoProcessor.from_pretrained(settings.model)
    model = prepare(settings)
    dataset = Conversations(settings.data, settings.images, processor, settings.longest, settings.pad_to_square)
    tokenizer = processor.tokenizer
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if training.ddp_find_unused_parameters is None and not all(map(dataset.has_image, range(len(dataset)))):
        training.ddp_find_unused_parameters = True  # batches without pictures give the projector no gradient
    Trainer.grouped = settings.group
    trainer = Trainer(model=model, args=training, train_dataset=dataset, data_collator=Collator(padding))
    trainer.teacher, trainer.share, trainer.temperature = teacher_of(model, settings, training), settings.distill, settings.distill_temperature
    trainer.train(resume_from_checkpoint=last_checkpoint(training.output_dir))
    trainer.save_state()
    finish(trainer, settings)


if __name__ == "__main__":
    main(sys.argv[1:])
