"""LLaVA's conversation data (llava_v1_5_mix665k.json) as training samples of a transformers processor.

A record is {"id", "image" (optional), "conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}, ...]}; the
file is a JSON list, or has a record a line. The loss is on the assistant's turns alone.
"""

import json
import pathlib
import random

import torch
from PIL import Image

IGNORED = -100
PLACEHOLDER = "<image>"


def read_records(path):
    text = pathlib.Path(path).read_text()
    records = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in text.splitlines() if line.strip()]
    for index, record in enumerate(records):
        turns = record.get("conversations")
        if not isinstance(turns, list) or len(turns) < 2:
            raise SystemExit(f"{path}: record {index}: expected conversations of at least two turns")
        names = {turn.get("from") for turn in turns} - {"human", "gpt", "system"}
        if names:
            raise SystemExit(f"{path}: record {index}: a turn is from {names.pop()!r}; expected human, gpt or system")
    return records


def messages_of(record):
    """The record's turns as a chat template takes them, the picture before the text of the turn that names it."""
    roles, messages = {"human": "user", "gpt": "assistant", "system": "system"}, []
    for turn in record["conversations"]:
        text = turn["value"]
        content = [{"type": "image"}] * (text.count(PLACEHOLDER) if "image" in record else 0)
        if content:
            text = text.replace(PLACEHOLDER, "").strip()
        messages.append({"role": roles[turn["from"]], "content": [*content, {"type": "text", "text": text}]})
    return messages


def squared(image, mean):
    """Padded to a square with the mean colour, as LLaVA-1.5 was trained (image_aspect_ratio: pad)."""
    side = max(image.size)
    if image.size == (side, side):
        return image
    whole = Image.new("RGB", (side, side), tuple(int(255 * part) for part in mean))
    whole.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return whole


class Conversations(torch.utils.data.Dataset):
    """Sample i: input_ids [T], labels [T] and, with a picture, pixel_values."""

    def __init__(self, path, images, processor, longest, pad_to_square):
        self.records, self.images = read_records(path), pathlib.Path(images) if images else None
        self.processor, self.longest, self.pad_to_square = processor, longest, pad_to_square
        if not processor.tokenizer.is_fast:
            raise SystemExit("the tokenizer has no offsets of its tokens (tokenizer.json), which the labels are made from")

    def __len__(self):
        return len(self.records)

    def has_image(self, index):
        return "image" in self.records[index]

    def size(self, index):
        """Roughly the number of tokens, without tokenizing: for grouping."""
        return sum(len(turn["value"].split()) for turn in self.records[index]["conversations"])

    def _template(self, messages, open_turn):
        return self.processor.apply_chat_template(messages, add_generation_prompt=open_turn, tokenize=False)

    def __getitem__(self, index):
        record = self.records[index]
        messages = messages_of(record)
        # An assistant's turn reaches from the end of the text that asks for it to the end of the text with it.
        spans = [(self._template(messages[:i], True), self._template(messages[: i + 1], False)) for i, m in enumerate(messages) if m["role"] == "assistant"]
        text = self._template(messages, False)
        if any(not text.startswith(part) for span in spans for part in span):
            raise SystemExit("the chat template changes earlier turns when later ones follow: their tokens cannot be told apart")
        images = None
        if "image" in record:
            with Image.open(self.images / record["image"]) as image:
                images = [image.convert("RGB")]
            if self.pad_to_square:
                images = [squared(images[0], self.processor.image_processor.image_mean)]
        inputs = self.processor(text=[text], images=images, return_offsets_mapping=True, add_special_tokens=True)
        ids, offsets = inputs["input_ids"][0], inputs["offset_mapping"][0]
        marks = text.count(PLACEHOLDER) if images else 0
        more = 0
        if marks:  # the processor writes the placeholder once for each visual token
            token = self.processor.tokenizer.convert_tokens_to_ids(PLACEHOLDER)
            more = (sum(int(i) == token for i in ids) // marks - 1) * len(PLACEHOLDER)
        labels = [IGNORED] * len(ids)
        for before, after in spans:
            start, stop = (len(part) + more * part.count(PLACEHOLDER) if marks else len(part) for part in (before, after))
            for at, (first, last) in enumerate(offsets):
                if start <= first < last <= stop:
                    labels[at] = int(ids[at])
        sample = {"input_ids": torch.tensor(ids)[: self.longest], "labels": torch.tensor(labels)[: self.longest]}
        if images:
            sample["pixel_values"] = torch.as_tensor(inputs["pixel_values"][0])[None]
        return sample


class Collator:
    """Samples with and without pictures as one batch, padded on the right."""

    def __init__(self, padding):
        self.padding = padding

    def __call__(self, samples):
        def padded(name, value):
            return torch.nn.utils.rnn.pad_sequence([s[name] for s in samples], batch_first=True, padding_value=value)

        lengths = torch.tensor([len(s["input_ids"]) for s in samples])
        batch = {"input_ids": padded("input_ids", self.padding), "labels": padded("labels", IGNORED)}
        batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
        pixels = [s["pixel_values"] for s in samples if "pixel_values" in s]
        if pixels:
            batch["pixel_values"] = torch.cat(pixels)
        return batch


class GroupedSampler(torch.utils.data.Sampler):
    """An order in which a global batch has samples of one modality and about one length: a pruned step saves most where all of
    its samples have pictures, and padding is least. The same for the same seed and epoch, so that a resumed run goes on."""

    def __init__(self, dataset, batch, world, seed):
        self.dataset, self.batch, self.world, self.seed, self.epoch = dataset, batch, world, seed, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return len(self.dataset)

    def __iter__(self):
        draw = random.Random(f"{self.seed} {self.epoch}")
        whole, rest = [], []
        for images in (True, False):
            members = [i for i in range(len(self.dataset)) if self.dataset.has_image(i) == images]
            draw.shuffle(members)
            size = self.batch * self.world
            # Neighbours in length, from a pool of some batches, so that the order stays random on the whole.
            for start in range(0, len(members), 50 * size):
                pool = sorted(members[start : start + 50 * size], key=self.dataset.size, reverse=True)
                for at in range(0, len(pool), size):
                    (whole if len(pool[at : at + size]) == size else rest).append(pool[at : at + size])
        draw.shuffle(whole)
        return iter([i for group in whole + rest for i in group])
