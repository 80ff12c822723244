"""examples/finetune: labels, grouping, a loss that falls, a run that resumes, and a result that yopo runs."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

import yopo_package  # noqa: F401  (before torch)
from support import MODEL, ROOT, TEST, Case
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

sys.path.insert(0, str(ROOT / "examples/finetune"))
import conversations
import distillation
import finetune
import yopo.transformers
from yopo.transformers import linear

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


class SplitGradients(unittest.TestCase):
    """Products with parts of a weight and their gradients, against autograd's own through slices; rows 0 to 4 are visual."""

    RUNS = ([(0, 3)], [(4, 6), (1, 3)], [(7, 9)])

    def both(self, name, runs, bias, low):
        width, count = 9, 5
        found = []
        for split in (True, False):
            torch.manual_seed(1)
            module = torch.nn.Linear(6, width, bias=bias) if name == "rows" else torch.nn.Linear(width, 6, bias=bias)
            linear.accept_slices(module, "it")
            x = torch.randn(8, module.in_features, requires_grad=True)
            picked = [i for a, b in runs for i in range(a, b)]
            with torch.autocast("cpu", torch.bfloat16, enabled=low):
                if name == "rows":
                    visual, text = linear.project_rows(module, x, count, runs) if split else (
                        torch.nn.functional.linear(x, module.weight, module.bias)[:count, picked], torch.nn.functional.linear(x[count:], module.weight, module.bias))
                    result = torch.cat([visual.flatten(), text.flatten()])
                else:
                    seen = torch.zeros(width, count).index_put((torch.tensor(picked),), x[:count, picked].T).T
                    result = linear.project_columns(module, x[:count, picked], x[count:], runs) if split else (
                        torch.nn.functional.linear(torch.cat([seen, x[count:]]), module.weight, module.bias))
            (result.float().flatten() * torch.linspace(-1, 1, result.numel())).sum().backward()
            found.append([result.float(), x.grad, module.weight.grad, *([module.bias.grad] if bias else [])])
        return found

    def test_equal(self):
        for name in ("rows", "columns"):
            for runs in self.RUNS:
                for bias in (True, False):
                    for low in (False, True):
                        for mine, wanted in zip(*self.both(name, runs, bias, low)):
                            self.assertEqual(mine.dtype, wanted.dtype)
                            limit = (3e-2 if low else 1e-5) * wanted.abs().max().item()
                            self.assertLess((mine - wanted).abs().max().item(), limit, (name, runs, bias, low))

    def test_one_gradient(self):
        """No slice has a gradient of the weight's size: in the graph the weight is used once."""
        for name in ("rows", "columns"):
            module = torch.nn.Linear(9, 9, bias=False)
            linear.accept_slices(module, "it")
            x = torch.randn(8, 9)
            result = torch.cat(linear.project_rows(module, x, 5, [(0, 3)])[1:]) if name == "rows" else linear.project_columns(module, x[:5, :3], x[5:], [(0, 3)])
            names, open_nodes, uses = set(), [result.grad_fn], 0
            while open_nodes:
                node = open_nodes.pop()
                for after, _ in node.next_functions:
                    uses += after is not None and type(after).__name__ == "AccumulateGrad"
                    if after is not None and after not in names:
                        names.add(after)
                        open_nodes.append(after)
            self.assertEqual(uses, 1, name)


class Divergence(unittest.TestCase):
    def test_by_hand(self):
        draw = torch.Generator().manual_seed(1)
        student, teacher = torch.randn(2, 4, 5, generator=draw), torch.randn(2, 4, 5, generator=draw)
        labels = torch.tensor([[-100, -100, 3, 1], [-100, 2, -100, -100]])
        for heat in (1.0, 2.0):
            total = 0.0
            for row, place in ((0, 1), (0, 2), (1, 0)):  # what says the labelled token is the row before it
                p, q = (torch.softmax(logits[row, place] / heat, 0) for logits in (teacher, student))
                total += heat**2 * sum(float(p[i] * (p[i] / q[i]).log()) for i in range(5))
            self.assertAlmostEqual(distillation.divergence(student, teacher, labels, heat).item(), total / 3, places=5)
            self.assertAlmostEqual(distillation.divergence(student, teacher, labels, heat, 7).item(), total / 7, places=5)


class Run(Case):
    STEPS, COUNT = 24, 8  # few enough records to learn by heart

    def setUp(self):
        super().setUp()
        (self.folder / "data.json").write_text(json.dumps(records(self.COUNT)))
        self.yopo("plan", "--model", MODEL, "--visual-layers", 6, "--window", 3, "--window-causal", "--output", self.folder / "plan.json")
        self.pruned = self.folder / "pruned"
        self.yopo("export", "--model", MODEL, "--plan", self.folder / "plan.json", "--output", self.pruned)

    def flags(self, output, *more):
        return [str(ROOT / "examples/finetune/settings/llava-1.5-7b-25.json"), "--model", str(self.pruned), "--data", str(self.folder / "data.json"),
                "--images", str(TEST.images), "--output_dir", str(output), "--max_steps", str(self.STEPS), "--per_device_train_batch_size", "2",
                "--learning_rate", "2e-4", "--bf16", "False", "--save_steps", "10", "--save_total_limit", "3", "--dataloader_num_workers", "0",
                "--use_cpu", "True", "--disable_tqdm", "True", "--pad_to_square", "False", *more]

    def train(self, output, *more):
        finetune.main(self.flags(output, *more))
        return self.losses(output)

    def start(self, output, *more, **environment):
        """finetune.py as a process of its own; what it says is in a file, process.log."""
        run = "import sys, yopo_package, torch, finetune; torch.set_num_threads(1); finetune.main(sys.argv[1:])"
        paths = os.pathsep.join([str(pathlib.Path(__file__).parent), str(ROOT / "examples/finetune"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        log = self.folder / f"log{environment.get('RANK', '')}"
        with log.open("w") as said:
            process = subprocess.Popen([sys.executable, "-B", "-c", run, *self.flags(output, *more)], stdout=subprocess.DEVNULL, stderr=said,
                                       env={**os.environ, "PYTHONPATH": paths, **environment})
        process.log = log
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def losses(self, output):
        last = max(pathlib.Path(output).glob("checkpoint-*"), key=lambda p: int(p.name.split("-")[1]))
        history = json.loads((last / "trainer_state.json").read_text())["log_history"]
        return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}

    def prepared(self, *more):
        """The model and its teacher, and a batch of records with and without pictures."""
        settings, training = finetune.parse(self.flags(self.folder / "none", *more))
        model = finetune.prepare(settings)
        data = conversations.Conversations(self.folder / "data.json", TEST.images, AutoProcessor.from_pretrained(MODEL), 2048, False)
        return model, finetune.teacher_of(model, settings, training), conversations.Collator(0)([data[i] for i in range(4)])

    def far(self, model, teacher, batch):
        """How far the model's answers are from its teacher's, and the teacher's logits."""
        asked = {name: value for name, value in batch.items() if name != "labels"}
        wanted = teacher.logits(model, asked)
        return distillation.divergence(model(**asked).logits, wanted, batch["labels"], 1.0), wanted

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

    def test_two_processes(self):
        """As one with the same global batch. A quarter of the records has no picture: the projector then has no gradient."""
        self.train(self.folder / "one", "--per_device_train_batch_size", "4", "--max_steps", "6", "--save_steps", "6")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        both = [self.start(self.folder / "two", "--max_steps", "6", "--save_steps", "6", RANK=rank, LOCAL_RANK=rank, **group) for rank in "01"]
        until = time.monotonic() + 400
        while any(process.poll() is None for process in both) and not any(process.poll() for process in both) and time.monotonic() < until:
            time.sleep(0.1)
        for process in both:  # where one has failed, the other waits for it for good
            process.kill()
            self.assertEqual(process.wait(), 0, process.log.read_text()[-3000:])
        one, two = self.losses(self.folder / "one"), self.losses(self.folder / "two")
        self.assertEqual(sorted(two), list(range(1, 7)))
        for step, loss in one.items():
            self.assertLess(abs(two[step] / loss - 1), 1e-4, (one, two))
        weights = [yopo.transformers.load(self.folder / name, dtype=torch.float32) for name in ("one", "two")]
        for name, value in weights[0].named_parameters():
            self.assertLess((value - weights[1].get_parameter(name)).abs().max(), 2e-5, name)

    def test_killed(self):
        """By SIGKILL, with a checkpoint that was being written: the rerun goes on from the whole one before, with the same losses."""
        undisturbed = self.train(self.folder / "undisturbed")
        out = self.folder / "killed"
        process = self.start(out)
        until = time.monotonic() + 300
        while not (out / "checkpoint-10/trainer_state.json").is_file() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        self.assertEqual(process.wait(), -signal.SIGKILL, process.log.read_text()[-3000:])
        shutil.rmtree(out / "checkpoint-20", ignore_errors=True)  # where the kill was late
        (out / "checkpoint-20").mkdir()
        for name in ("config.json", "model.safetensors"):
            (out / "checkpoint-20" / name).write_bytes((out / "checkpoint-10" / name).read_bytes()[:1000])
        self.assertEqual(self.train(out), undisturbed)

    def test_distilled(self):
        """The teacher is the dense model, whether it is a copy or the same weights; nothing reaches it, and it stays what it was."""
        for adapters in ((), ("--lora_rank", "8", "--lora_alpha", "16")):
            with self.subTest(adapters=adapters):
                model, teacher, batch = self.prepared("--distill", "1", *adapters)
                asked = {name: value for name, value in batch.items() if name != "labels"}
                with torch.no_grad():
                    whole = AutoModelForImageTextToText.from_pretrained(MODEL, dtype=torch.float32)(**asked).logits
                    before = model.train()(**asked).logits
                far, wanted = self.far(model, teacher, batch)
                self.assertFalse(wanted.requires_grad)
                kept = batch["attention_mask"] > 0  # what stands behind the padding is nobody's
                self.assertLess((wanted - whole)[kept].abs().max().item(), 1e-4)
                self.assertGreater(far.item(), 1e-3)
                with torch.no_grad():
                    self.assertTrue(torch.equal(model(**asked).logits, before), "the model no longer runs pruned, or in training")
                far.backward()
                moved = [value for value in model.parameters() if value.grad is not None and value.grad.abs().max() > 0]
                self.assertTrue(moved)
                if not adapters:
                    self.assertTrue(all(value.grad is None and not value.requires_grad for value in teacher.model.parameters()))
                with torch.no_grad():
                    for value in moved:
                        value -= 0.1 * value.grad
                again, same = self.far(model, teacher, batch)
                self.assertNotEqual(again.item(), far.item())
                self.assertTrue(torch.equal(same, wanted))

    def test_nothing_to_distill(self):
        """Where the plan keeps everything, the model answers as its teacher."""
        self.yopo("plan", "--model", MODEL, "--output", self.folder / "all.json")
        self.pruned = self.folder / "whole"
        self.yopo("export", "--model", MODEL, "--plan", self.folder / "all.json", "--output", self.pruned)
        for adapters in ((), ("--lora_rank", "8", "--lora_alpha", "16")):
            far, _ = self.far(*self.prepared("--distill", "1", *adapters))
            self.assertLess(abs(far.item()), 1e-6)

    def test_distilling_run(self):
        """The distance falls, alone or with the labels' loss; a rerun goes on with the same losses."""
        for name, adapters in (("full", ()), ("lora", ("--lora_rank", "8", "--lora_alpha", "16", "--learning_rate", "2e-3"))):
            with self.subTest(name):
                out = self.folder / name
                flags = ("--distill", "1", "--max_steps", "16", "--save_steps", "8", *adapters)
                losses = self.train(out, *flags)
                model, teacher, batch = self.prepared("--distill", "1")
                before, _ = self.far(model, teacher, batch)
                after, _ = self.far(yopo.transformers.load(out, dtype=torch.float32), teacher, batch)
                self.assertLess(after.item(), 0.7 * before.item())
                shutil.rmtree(out / "checkpoint-16")
                self.assertEqual(self.train(out, *flags), losses)
        both = self.train(self.folder / "both", "--distill", "0.5", "--max_steps", "1", "--save_steps", "1")
        label = self.train(self.folder / "label", "--max_steps", "1", "--save_steps", "1")
        alone = self.train(self.folder / "alone", "--distill", "1", "--max_steps", "1", "--save_steps", "1")
        self.assertAlmostEqual(both[1], (label[1] + alone[1]) / 2, delta=2e-4)
        with self.assertRaisesRegex(SystemExit, "distill: expected a share from 0 to 1"):
            self.train(self.folder / "no", "--distill", "2")

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
