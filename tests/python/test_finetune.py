"""examples/finetune: labels, grouping, a loss that falls, a run that resumes, and a result that yopo runs."""
import json
import pathlib
import shutil
import sys
import unittest

import yopo_package  # noqa: F401  (before torch)
from support import MODEL, ROOT, TEST, Case
import torch
from transformers import AutoProcessor

sys.path.insert(0, str(ROOT / "examples/finetune"))
import conversations
import finetune
import yopo.transformers

torch.set_num_threads(1)


def records(count):
    """Conversations of two turns about one picture, and every fourth without a picture."""
    lines = (TEST.questions.parent / "answers.jsonl").read_text().splitlines()
    answers = {answer["question_id"]: answer["text"] for answer in map(json.loads, lines)}
    samples, made = TEST.samples(), []
    for index in range(count):
        first = samples[2 * index]
        second = next(s for s in samples if s["image"] == first["image"] and s is not first)
        turns = [{"from": "human", "value": first["text"] + "\n<image>"}, {"from": "gpt", "value": answers[first["question_id"]]},
                 {"from": "human", "value": second["text"]}, {"from": "gpt", "value": answers[second["question_id"]]}]
        record = {"id": str(index), "image": first["image"], "conversations": turns}
        if index % 4 == 3:
            del record["image"]
            turns[0]["value"] = first["text"]
        made.append(record)
    return made


class Data(Case):
    def setUp(self):
        super().setUp()
        self.made = records(24)
        (self.folder / "data.json").write_text(json.dumps(self.made))
        self.processor = AutoProcessor.from_pretrained(MODEL)
        self.data = conversations.Conversations(self.folder / "data.json", TEST.images, self.processor, 2048, False)

    def test_loss_is_on_the_answers(self):
        tokenizer = self.processor.tokenizer
        for index, record in enumerate(self.made):
            sample = self.data[index]
            marked = sample["labels"] != conversations.IGNORED
            self.assertTrue(torch.equal(sample["labels"][marked], sample["input_ids"][marked]))
            spans, open_span = [], []
            for token, inside in zip(sample["input_ids"].tolist(), marked.tolist()):
                if inside:
                    open_span.append(token)
                elif open_span:
                    spans.append(open_span)
                    open_span = []
            spans += [open_span] if open_span else []
            answers = [turn["value"] + "</s>" for turn in record["conversations"] if turn["from"] == "gpt"]
            self.assertEqual([tokenizer.decode(span).strip().replace(" </s>", "</s>") for span in spans], answers)
            pictures = int((sample["input_ids"] == tokenizer.convert_tokens_to_ids("<image>")).sum())
            self.assertEqual(pictures, 81 if "image" in record else 0)
            self.assertEqual("pixel_values" in sample, "image" in record)

    def test_batches_have_one_modality(self):
        sampler = conversations.GroupedSampler(self.data, 3, 2, 0)
        order = list(sampler)
        self.assertEqual(sorted(order), list(range(24)))
        for start in range(0, 24, 6):
            self.assertEqual(len({self.data.has_image(i) for i in order[start:start + 6]}), 1)
        self.assertEqual(order, list(conversations.GroupedSampler(self.data, 3, 2, 0)))
        sampler.set_epoch(1)
        self.assertNotEqual(order, list(sampler))

    def test_padding(self):
        batch = conversations.Collator(7)([self.data[0], self.data[3]])
        short = int(batch["attention_mask"][1].sum())
        self.assertLess(short, batch["input_ids"].shape[1])
        self.assertEqual(set(batch["input_ids"][1, short:].tolist()), {7})
        self.assertEqual(set(batch["labels"][1, short:].tolist()), {conversations.IGNORED})
        self.assertEqual(batch["pixel_values"].shape[0], 1)


class Run(Case):
    STEPS, COUNT = 24, 8  # few enough records to learn by heart

    def setUp(self):
        super().setUp()
        (self.folder / "data.json").write_text(json.dumps(records(self.COUNT)))
        self.yopo("plan", "--model", MODEL, "--visual-layers", 6, "--window", 3, "--window-causal", "--output", self.folder / "plan.json")
        self.pruned = self.folder / "pruned"
        self.yopo("export", "--model", MODEL, "--plan", self.folder / "plan.json", "--output", self.pruned)

    def train(self, output, *more):
        finetune.main([str(ROOT / "examples/finetune/settings/llava-1.5-7b-25.json"), "--model", str(self.pruned), "--data", str(self.folder / "data.json"),
                       "--images", str(TEST.images), "--output_dir", str(output), "--max_steps", str(self.STEPS), "--per_device_train_batch_size", "2",
                       "--learning_rate", "2e-4", "--bf16", "False", "--save_steps", "10", "--save_total_limit", "3", "--dataloader_num_workers", "0",
                       "--use_cpu", "True", "--disable_tqdm", "True", "--pad_to_square", "False", *more])
        last = max(pathlib.Path(output).glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
        history = json.loads((last / "trainer_state.json").read_text())["log_history"]
        return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}

    @torch.no_grad()
    def mean_loss(self, folder):
        model = yopo.transformers.load(folder, dtype=torch.float32).eval()
        data = conversations.Conversations(self.folder / "data.json", TEST.images, AutoProcessor.from_pretrained(MODEL), 2048, False)
        collate = conversations.Collator(0)
        return model(**collate([data[i] for i in range(self.COUNT) if data.has_image(i)])).loss.item()

    def check_falls(self, losses, out):
        self.assertEqual(sorted(losses), list(range(1, self.STEPS + 1)))
        before, after = self.mean_loss(self.pruned), self.mean_loss(out)
        self.assertLess(after, 0.5 * before)

    def test_full(self):
        out = self.folder / "tuned"
        losses = self.train(out)
        self.check_falls(losses, out)
        model = yopo.transformers.load(out, dtype=torch.float32)
        before = yopo.transformers.load(self.pruned, dtype=torch.float32)
        for name, value in model.named_parameters():
            changed = not torch.equal(value, before.get_parameter(name))
            self.assertEqual(changed, "vision_tower" not in name, name)
        said = self.yopo_json("eval", "--model", out, "--benchmark", "vqa", "--questions", TEST.questions, "--images", TEST.images, "--samples", 10, "--output", self.folder / "eval")
        self.assertTrue(said["results"][0]["pruned"])
        # Killed after the tenth step, in the middle of an epoch: the rerun goes on with the same losses.
        for step in (20, self.STEPS):
            shutil.rmtree(out / f"checkpoint-{step}")
        for file in out.glob("*.*"):
            file.unlink()
        self.assertEqual(self.train(out), losses)

    def test_lora(self):
        out = self.folder / "tuned"
        self.check_falls(self.train(out, "--lora_rank", "8", "--lora_alpha", "16", "--learning_rate", "2e-3"), out)
        model = yopo.transformers.load(out, dtype=torch.float32)
        before = yopo.transformers.load(self.pruned, dtype=torch.float32)
        name = "model.language_model.layers.2.self_attn.q_proj.weight"
        self.assertFalse(torch.equal(model.get_parameter(name), before.get_parameter(name)))
        self.assertFalse(any("lora" in name or "base_layer" in name for name in model.state_dict()))
        self.assertFalse(any(file.name.startswith("adapter") for file in out.iterdir()))


if __name__ == "__main__":
    unittest.main()
