"""`yopo random` and benchmarks/make_tokenizer.py: a random checkpoint runs through the command, an interrupted one leaves nothing, and
the tokenizers have the special tokens where config.json expects them."""
import json
import signal
import subprocess
import sys
import unittest

import tokenizers
from PIL import Image

from support import ROOT, Case, command

sys.path.append(str(ROOT / "benchmarks"))
from make_tokenizer import make_tokenizer  # noqa: E402

# Every config's special tokens with their ids, as published.
SPECIAL = {
    "llava-1.5-7b": {"<unk>": 0, "<s>": 1, "</s>": 2, "<image>": 32000, "<pad>": 32001},
    "qwen2-vl-7b": {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<|vision_start|>": 151652,
                    "<|vision_end|>": 151653, "<|image_pad|>": 151655, "<|video_pad|>": 151656},
    "llava-onevision-7b": {"<|endoftext|>": 151643, "<|im_end|>": 151645, "<image>": 151646, "<video>": 151647},
    "internvl3-8b": {"<|endoftext|>": 151643, "<|im_start|>": 151644, "<|im_end|>": 151645, "<img>": 151665, "</img>": 151666,
                     "<IMG_CONTEXT>": 151667, "</box>": 151673},
    "internvl3.5-8b": {"<|endoftext|>": 151643, "<|im_end|>": 151645, "<img>": 151669, "<IMG_CONTEXT>": 151671},
    "internvl2-4b": {"<s>": 1, "</s>": 2, "<|endoftext|>": 32000, "<|assistant|>": 32001, "<|system|>": 32006, "<|end|>": 32007,
                     "<|user|>": 32010, "<img>": 32011, "</img>": 32012, "<IMG_CONTEXT>": 32013, "</box>": 32019},
    "internvl2-8b": {"<s>": 1, "</s>": 2, "<|im_end|>": 92542, "<|im_start|>": 92543, "<img>": 92544, "</img>": 92545,
                     "<IMG_CONTEXT>": 92546, "</box>": 92552},
}
TEXT = "What is in the image?\n  Größe 图像 ٣ \U0001f600, don't!"


def small_llava():
    config = json.loads((ROOT / "configs/models/llava-1.5-7b.json").read_text())
    config.update(image_token_index=4000, pad_token_id=4001, image_seq_length=9)
    config["text_config"].update(vocab_size=4064, hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4,
                                 num_key_value_heads=4)
    config["vision_config"].update(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=42)
    return config


class RandomTest(Case):
    def write(self, config):
        file = self.folder / "source.json"
        file.write_text(json.dumps(config))
        return file

    def test_runs_through_the_command(self):
        model = self.folder / "model"
        made = self.yopo_json("random", "--config", self.write(small_llava()), "--output", model, "--layers", 2, "--dtype", "fp32",
                              "--seed", 3)
        self.assertEqual(made["bytes"], 4 * made["parameters"])
        make_tokenizer(model)
        (self.folder / "images").mkdir()
        questions = []
        for number in range(3):
            Image.new("RGB", (60, 40 + number), (80 * number, 90, 200)).save(self.folder / "images" / f"{number}.png")
            questions.append({"question_id": number, "image": f"{number}.png", "text": "What is in the image?"})
        (self.folder / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
        data = ["--questions", self.folder / "questions.jsonl", "--images", self.folder / "images"]
        plan, pruned = self.folder / "plan.json", self.folder / "pruned"
        self.assertEqual(self.yopo_json("inspect", model)["model"]["num_hidden_layers"], 2)
        self.yopo("calibrate", "--model", model, *data, "--output", self.folder / "stats.h5")
        self.yopo("plan", "--stats", self.folder / "stats.h5", "--model", model, "--heads-keep", "0.5", "--ffn-keep", "0.5",
                  "--visual-layers", 1, "--output", plan)
        self.yopo("export", "--model", model, "--plan", plan, "--output", pruned)
        self.yopo("verify", "--model", pruned, "--original", model, *data, "--output", self.folder / "verify.json")
        self.assertTrue(json.loads((self.folder / "verify.json").read_text())["passed"])

    def test_interrupted_it_leaves_nothing(self):
        output = self.folder / "out"
        # Large enough to be far from its end once its folder is there.
        process = subprocess.Popen(command("random", "--config", ROOT / "configs/models/llava-1.5-7b.json", "--output", output,
                                           "--layers", 8, "--shard-size", "100MB"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        while process.poll() is None and not list(self.folder.glob("out.partial-*/*.safetensors*")):
            pass
        self.assertIsNone(process.poll(), "it ended before it could be interrupted")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
        self.assertEqual(process.returncode, 130, errors)
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_bad_flags(self):
        source = self.write(small_llava())
        (self.folder / "full").mkdir()
        (self.folder / "full" / "notes.txt").write_text("mine")
        before = sorted(path.name for path in self.folder.iterdir())
        for flags, named in ((["--dtype", "bf61"], "did you mean 'bf16'"), (["--layers", "4"], "3 decoder layers"),
                             (["--shard-size", "many"], "--shard-size"), (["--sed", "1"], "--seed"),
                             (["--output", self.folder / "full"], "not empty")):
            with self.subTest(flags=flags):
                output = [] if "--output" in flags else ["--output", self.folder / "out"]
                result = subprocess.run(command("random", "--config", source, *output, *flags), capture_output=True, text=True)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(named, result.stderr)
                self.assertEqual(sorted(path.name for path in self.folder.iterdir()), before)


class TokenizerTest(Case):
    def make(self, name):
        folder = self.folder / name
        folder.mkdir()
        (folder / "config.json").write_bytes((ROOT / "configs/models" / f"{name}.json").read_bytes())
        make_tokenizer(folder)
        return folder

    def test_special_tokens_stand_where_the_config_expects_them(self):
        for name, special in SPECIAL.items():
            with self.subTest(model=name):
                folder = self.make(name)
                listed = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
                ids = {entry["content"]: int(number) for number, entry in listed.items()}
                self.assertEqual({token: ids.get(token) for token in special}, special)
                if (folder / "tokenizer.json").exists():
                    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
                    self.assertEqual({token: tokenizer.token_to_id(token) for token in special}, special)
                    self.assertEqual(tokenizer.get_vocab_size(), max(ids.values()) + 1)  # no holes
                self.assertTrue((folder / "preprocessor_config.json").exists())

    def test_any_text_comes_back(self):
        for name in SPECIAL:
            with self.subTest(model=name):
                folder = self.make(name)
                if (folder / "tokenizer.json").exists():
                    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
                    ids = tokenizer.encode(TEXT, add_special_tokens=False).ids
                    self.assertEqual(tokenizer.decode(ids), TEXT)
                    self.assertLess(len(ids), len(TEXT.encode()))  # words were learnt
                else:
                    import sentencepiece
                    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
                    self.assertEqual(model.decode(model.encode(TEXT)), TEXT)
                    self.assertLess(len(model.encode(TEXT)), len(TEXT.encode()))

    def test_same_bytes_twice(self):
        for name in SPECIAL:
            with self.subTest(model=name):
                folder = self.make(name)
                first = {path.name: path.read_bytes() for path in folder.iterdir()}
                make_tokenizer(folder)
                self.assertEqual({path.name: path.read_bytes() for path in folder.iterdir()}, first)

    def test_configs_that_do_not_fit_are_refused(self):
        folder = self.make("qwen2-vl-7b")
        for change in ({"vision_start_token_id": 7}, {"image_token_id": 500, "vision_start_token_id": 497, "vision_end_token_id": 498,
                                                      "video_token_id": 501, "eos_token_id": 490}, {"architectures": ["Other"]}):
            with self.subTest(change=change):
                config = json.loads((ROOT / "configs/models/qwen2-vl-7b.json").read_text())
                (folder / "config.json").write_text(json.dumps({**config, **change}))
                with self.assertRaises(SystemExit) as refused:
                    make_tokenizer(folder)
                self.assertIn("make_tokenizer.py", str(refused.exception.code))


if __name__ == "__main__":
    unittest.main()
