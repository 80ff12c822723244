"""What Qwen2-VL and InternVL2 checkpoints, images and inputs can have wrong, through the command: exit code 2, one message that
names the culprit, nothing left behind."""
import atexit
import functools
import json
import pathlib
import shutil
import tempfile
import unittest

from family_models import internvl2_config, make_internvl2, make_qwen2_vl, qwen2_vl_config, write_json
import torch
from PIL import Image
from safetensors.torch import save_file

from refusals import BadInput

SHARED = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
atexit.register(shutil.rmtree, SHARED, ignore_errors=True)


@functools.cache
def model_of(name):
    return make_qwen2_vl(SHARED / name) if name == "qwen2-vl" else make_internvl2(SHARED / name, name)


def put(value, path, item):
    """Sets value["a"]["b"] for the path "a.b"; None removes it."""
    *way, last = path.split(".")
    for key in way:
        value = value[key]
    if item is None:
        del value[last]
    else:
        value[last] = item


class RefusalTest(BadInput):
    def model(self, name):
        """A good checkpoint to be damaged."""
        folder = self.folder / "model"
        shutil.rmtree(folder, ignore_errors=True)
        return shutil.copytree(model_of(name), folder)

    def changed(self, name, changes, file="config.json"):
        folder = self.model(name)
        content = json.loads((folder / file).read_text())
        for path, item in changes.items():
            put(content, path, item)
        write_json(folder / file, content)
        return folder

    def image(self, width, height):
        path = self.folder / f"{width}x{height}.png"
        Image.new("RGB", (width, height), (200, 90, 30)).save(path)
        return path

    def asked(self, model, image):
        return ["generate", "--model", model, "--image", image, "--prompt", "What is it?", "--max-new-tokens", 1, "--threads", 1]

    def calibrated(self, model, image):
        questions = self.folder / "questions.jsonl"
        questions.write_text(json.dumps({"question_id": 41, "image": image.name, "text": "What is it?"}) + "\n")
        return ["calibrate", "--model", model, "--questions", questions, "--images", image.parent, "--output", self.folder / "stats.h5",
                "--threads", 1]

    def check_configs(self, name, rows):
        """Each row: what changes in config.json, and what the message says."""
        image = self.image(60, 60)
        for changes, naming in rows:
            with self.subTest(changes=changes):
                self.refused(*self.asked(self.changed(name, changes), image), naming=naming)

    def test_good_models_pass(self):
        """The refusals mean something only if nothing is wrong besides what each test changes."""
        image = self.image(60, 60)
        for name in ("qwen2-vl", "internvl2-8b", "internvl2-4b"):
            self.yopo(*self.asked(self.changed(name, {}), image))

    def test_unknown_architectures(self):
        known = ["LlavaForConditionalGeneration", "LlavaLlamaForCausalLM", "Qwen2VLForConditionalGeneration", "InternVLChatModel"]
        self.check_configs("qwen2-vl", [
            ({"architectures": ["Qwen2VLForConditionalGeneratio"]},
             ["config.json", "'Qwen2VLForConditionalGeneratio' is not one we know",
              "did you mean 'Qwen2VLForConditionalGeneration'", *known]),
            ({"architectures": ["MllamaForConditionalGeneration"]}, ["config.json", "MllamaForConditionalGeneration", *known])])
        self.check_configs("internvl2-8b", [
            ({"llm_config.architectures": ["Qwen3MoeForCausalLM"]},
             ["config.json: llm_config", "'Qwen3MoeForCausalLM' is not one we know inside InternVL2", "InternLM2ForCausalLM",
              "Phi3ForCausalLM"])])

    def test_configs_that_contradict_the_tensors(self):
        self.check_configs("qwen2-vl", [
            ({"hidden_size": 128, "rope_scaling.mrope_section": [4, 6, 6]},
             ["config.json: vision_config", "hidden_size 64", "hidden_size 128"]),
            ({"hidden_size": 128, "vision_config.hidden_size": 128, "rope_scaling.mrope_section": [4, 6, 6]},
             ["embed_tokens.weight", "[1664, 128]", "[1664, 64]"]),
            ({"num_key_value_heads": 4}, ["self_attn.k_proj.", "64", "32"]),
            ({"vision_config.embed_dim": 64}, ["visual.", "64", "32"])])
        self.check_configs("internvl2-8b", [
            ({"llm_config.hidden_size": 128}, ["tok_embeddings.weight", "[1600, 128]", "[1600, 64]"]),
            ({"llm_config.num_hidden_layers": 5}, ["language_model.model.layers.4."]),
            ({"vision_config.norm_type": "rms_norm", "vision_config.qk_normalization": True}, ["q_norm.weight"])])
        self.check_configs("internvl2-4b", [({"llm_config.intermediate_size": 128}, ["gate_up_proj.weight", "[256, 64]", "[192, 64]"])])

    def test_configs_that_are_not_supported(self):
        self.check_configs("qwen2-vl", [
            ({"rope_scaling.mrope_section": [2, 3, 4]}, ["rope_scaling: mrope_section", "sum to 9", "half of head_dim is 8"]),
            ({"rope_scaling.mrope_section": [4, 4]}, ["mrope_section", "expected 3 numbers"]),
            ({"use_sliding_window": True}, ["config.json", "use_sliding_window: expected false, found true", "sliding windows are not supported"])])
        self.check_configs("internvl2-8b", [
            ({"ps_version": "v1"}, ["config.json: ps_version", "expected v2", "found v1"]),
            ({"ps_version": None}, ["config.json: ps_version", "found v1"]),  # v1 is the class's default
            ({"force_image_size": 224}, ["force_image_size 224", "image_size 112"]),
            ({"template": "internvl2_6"},
             ["config.json", "template 'internvl2_6' is not known", "internlm2-chat", "phi3-chat", "Hermes-2"])])
        self.check_configs("internvl2-4b", [({"llm_config.sliding_window": 64}, ["llm_config", "sliding_window 64", "2048"])])

    def test_random_checkpoints_of_such_configs(self):
        bad = qwen2_vl_config(False)
        bad["rope_scaling"]["mrope_section"] = [2, 3, 4]
        worse = internvl2_config("internvl2-8b")
        worse["ps_version"] = "v1"
        for config, word in ((bad, "mrope_section"), (worse, "ps_version")):
            write_json(self.folder / "source.json", config)
            self.refused("random", "--config", self.folder / "source.json", "--output", self.folder / "out",
                         naming=["source.json", word])

    def test_missing_shard(self):
        write_json(self.folder / "source.json", internvl2_config("internvl2-8b"))
        folder = self.folder / "sharded"
        made = self.yopo_json("random", "--config", self.folder / "source.json", "--output", folder, "--shard-size", "200kB")
        self.assertGreater(made["files"], 2)
        lost = sorted(folder.glob("*.safetensors"))[1]
        lost.unlink()
        self.refused(*self.asked(folder, self.image(60, 60)), naming=[lost.name])
        self.refused("inspect", folder, naming=[lost.name])

    def test_tiles_beyond_the_context(self):
        """A prompt with one tile fits, with three and a thumbnail it does not."""
        fits, image = self.image(100, 100), self.image(600, 200)
        context = len(self.yopo_json(*self.asked(model_of("internvl2-4b"), fits))["input_ids"])
        model = self.changed("internvl2-4b", {"llm_config.max_position_embeddings": context,
                                              "llm_config.original_max_position_embeddings": 64})
        self.yopo(*self.asked(model, fits))
        naming = [f"a prompt of {context + 48} tokens", "64 of them from 4 pictures", f"the model's context is {context}"]
        self.refused(*self.asked(model, image), naming=naming)
        self.refused(*self.calibrated(model, image), naming=["questions.jsonl", *naming])

    def test_images_too_long_for_qwen2_vl(self):
        for size in ((2010, 10), (8, 1608)):
            image = self.image(*size)
            for command in (self.asked, self.calibrated):
                with self.subTest(size=size, command=command.__name__):
                    self.refused(*command(model_of("qwen2-vl"), image), naming=[image.name, "aspect ratio of at most 200", "found 201"])

    def test_preprocessor_that_contradicts_the_config(self):
        image = self.image(60, 60)
        for key, value in (("patch_size", 16), ("merge_size", 4), ("temporal_patch_size", 1)):
            with self.subTest(key=key):
                model = self.changed("qwen2-vl", {key: value}, "preprocessor_config.json")
                self.refused(*self.asked(model, image), naming=["preprocessor_config.json", "contradict config.json", value])

    def rename_token(self, name, old, new):
        folder = self.model(name)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            if (folder / file).exists():
                text = (folder / file).read_text(encoding="utf-8")
                self.assertIn(old, text)
                (folder / file).write_text(text.replace(old, new), encoding="utf-8")
        return folder

    def test_tokenizers_without_the_image_token(self):
        image = self.image(60, 60)
        for name, token in (("qwen2-vl", "<|image_pad|>"), ("internvl2-4b", "<IMG_CONTEXT>"), ("internvl2-8b", "<IMG_CONTEXT>")):
            with self.subTest(model=name):
                self.refused(*self.asked(self.rename_token(name, token, "<other>"), image), naming=[token, "the tokenizer has none"])

    def test_image_token_with_another_id(self):
        model = self.changed("qwen2-vl", {"image_token_id": 1611})
        self.refused(*self.asked(model, self.image(60, 60)), naming=["the image token is 1611", "1612 for <|image_pad|>"])

    def test_chat_template_that_is_not_recognised(self):
        image = self.image(60, 60)
        model = self.changed("qwen2-vl", {"chat_template": "{% for m in messages %}{{ m }}{% endfor %}"}, "chat_template.json")
        self.refused(*self.asked(model, image), naming=["chat_template.json", "cannot be used", "--template NAME", "qwen2-vl"])
        self.yopo(*self.asked(model, image), "--template", "qwen2-vl")

    def test_trace_inputs(self):
        """For Qwen2-VL: a video's grid, one with half blocks, and placeholders, pixels and grids that contradict each other."""
        def inputs(tokens=4, grid=(1, 4, 4), patches=16, values=1176):
            ids = torch.tensor([1601, 1609] + [1612] * tokens + [1610, 30])
            return {"input_ids": ids, "pixel_values": torch.zeros(patches, values), "image_grid_thw": torch.tensor([grid])}
        file, model = self.folder / "inputs.safetensors", model_of("qwen2-vl")
        arguments = ["trace", "--model", model, "--inputs", file, "--output", self.folder / "out.safetensors", "--threads", 1]
        save_file(inputs(), file)
        self.yopo(*arguments)
        (self.folder / "out.safetensors").unlink()
        without_grid = inputs()
        del without_grid["image_grid_thw"]
        for tensors, naming in ((inputs(8, (2, 4, 4), 32), ["image_grid_thw", "2 frames", "videos are not supported"]),
                                (inputs(grid=(1, 3, 4)), ["image_grid_thw", "3 patches a side", "multiple of 2"]),
                                (inputs(grid=(1, -4, -4)), ["image_grid_thw", "-4 patches a side"]),
                                (inputs(tokens=5), ["5 image placeholders", "id 1612"]),
                                (inputs(patches=20), ["pixel_values", "[16, 1176]"]),
                                (inputs(values=588), ["pixel_values", "1176", "[16, 588]"]),
                                (without_grid, ["image_grid_thw"])):
            with self.subTest(naming=naming):
                save_file(tensors, file)
                self.refused(*arguments, naming=["inputs.safetensors", *naming])


if __name__ == "__main__":
    unittest.main()
