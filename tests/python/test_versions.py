"""Checkpoints as transformers 4.57 and 5.24 write them: token ids, pixels and logits are theirs, and an export loads in both.
InternVL's original layout is no class of theirs: it is held against their own InternVL with the same weights, of whose tensors an
export has to have each under its original name (versions/original_internvl.py)."""
import atexit
import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import torch_cpu  # noqa: F401  (before torch)
import torch
from safetensors.torch import load_file, save_file
from support import ROOT, Case, run
from versions_of import VERSIONS, python, write_pictures

IMAGES = pathlib.Path(os.environ.get("YOPO_PROCESS_IMAGES", ROOT / "build/release/tests/images/process_images"))
QUESTION = "What is in the image?"
LIMIT = 1e-4  # max |difference| / max |logit|
PLAIN = ["--dtype", "fp32", "--threads", 1]

LINEAR = {"rope_type": "linear", "factor": 4.0}
DYNAMIC = {"rope_type": "dynamic", "factor": 3.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 24.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}


def rope(version, parameters, theta=10000.0):
    """Changes to config.json that say this rope as the version says it."""
    if version == "5.24":
        return {"text_config.rope_parameters": {**parameters, "rope_theta": theta}}
    return {"text_config.rope_theta": theta, "text_config.rope_scaling": parameters or None}


# By name: the family, and what changes in its config under a version. Each but the saved ones is held against the plain model of
# its family, whose weights it shares: it has to differ, or the test shows nothing.
CONFIGS = {
    "llava": ("llava", lambda version: {}),
    "llava_next": ("llava_next", lambda version: {}),
    "qwen2_vl": ("qwen2_vl", lambda version: {}),
    "qwen2_5_vl": ("qwen2_5_vl", lambda version: {}),
    "qwen3_vl": ("qwen3_vl", lambda version: {}),
    "llava_onevision": ("llava_onevision", lambda version: {}),
    "internvl_qwen2": ("internvl_qwen2", lambda version: {}),
    "internvl_qwen3": ("internvl_qwen3", lambda version: {}),
    "internvl_original_qwen2": ("internvl_original_qwen2", lambda version: {}),
    "internvl_original_qwen3": ("internvl_original_qwen3", lambda version: {}),
    "theta": ("llava", lambda version: rope(version, {} if version == "4.57" else {"rope_type": "default"}, 500000.0)),
    "linear": ("llava", lambda version: rope(version, LINEAR)),
    "dynamic": ("llava", lambda version: {**rope(version, DYNAMIC), "text_config.max_position_embeddings": 24}),
    "yarn": ("llava", lambda version: rope(version, YARN)),
    "llama3": ("llava", lambda version: rope(version, LLAMA3, 500000.0)),
    "attention_bias": ("llava", lambda version: {"text_config.attention_bias": True}),
    "qwen2_vl_yarn": ("qwen2_vl", lambda version: rope(
        version, {**YARN, "mrope_section": [2, 3, 3], "original_max_position_embeddings": 128}, 1000000.0)),
}
SAVED = [name for name, (kind, _) in CONFIGS.items() if name == kind]
# Width and height; the last fills 5 x 5 tiles of LLaVA-OneVision, of whose features anyres_max_9 leaves a part.
SIZES = ((90, 61), (30, 120), (150, 150))
SHARED = pathlib.Path(tempfile.mkdtemp(prefix="yopo-test-"))
atexit.register(shutil.rmtree, SHARED, ignore_errors=True)


@functools.cache
def images():
    """A picture of each size."""
    return write_pictures(SHARED, SIZES, 3, 5)


def asked(name):
    """Of the pictures, those that this model is asked about."""
    return images() if name == "llava_onevision" else images()[:2]


@functools.cache
def written(version):
    """Name -> folder, and what that version makes of it; all of a version in one process."""
    folders = {name: SHARED / version / name / "model" for name in CONFIGS}
    jobs = SHARED / f"{version}.json"
    jobs.write_text(json.dumps([{"kind": kind, "folder": str(folders[name]), "changes": changes(version)}
                                for name, (kind, changes) in CONFIGS.items()]))
    python(version, "write_checkpoint.py", jobs, *images())
    return {name: (folder, load_file(folder.parent / "expected.safetensors")) for name, folder in folders.items()}


class VersionCase(Case):
    def near(self, found, expected, what):
        self.assertEqual(found.shape, expected.shape, what)
        difference = ((found - expected).abs().max() / expected.abs().max()).item()
        self.assertTrue(difference <= LIMIT, f"{what}: {difference:.3g} > {LIMIT}")  # written so that NaN fails

    def trace(self, folder, expected, k, *flags):
        inputs, output = self.folder / "inputs.safetensors", self.folder / "trace.safetensors"
        tensors = {"input_ids": expected[f"ids.{k}"], "pixel_values": expected[f"pixels.{k}"]}
        for name, short in (("image_grid_thw", "grid"), ("image_sizes", "sizes")):
            if f"{short}.{k}" in expected:
                tensors[name] = expected[f"{short}.{k}"]
        save_file(tensors, inputs)
        self.yopo("trace", "--model", folder, "--inputs", inputs, "--output", output, *PLAIN, *flags)
        return load_file(output)["logits"]

    def check_logits(self, folder, expected):
        for k in range(len(asked(folder.parent.name))):
            for engine in ("runtime", "torch"):
                self.near(self.trace(folder, expected, k, "--engine", engine), expected[f"logits.{k}"], f"{folder.parent.name} {engine}")


class SavedTest(VersionCase):
    def check_prompts(self, folder, expected):
        """Ids by the command, pixels by its reader; nothing to warn of."""
        output = self.folder / "pixels.safetensors"
        subprocess.run([str(IMAGES), "folder", str(folder), str(output), *map(str, images())], check=True, capture_output=True)
        pixels = load_file(output)
        for k, image in enumerate(asked(folder.parent.name)):
            made = run("generate", "--model", folder, "--image", image, "--prompt", QUESTION, "--max-new-tokens", 1, "--json",
                       "--strict", *PLAIN)
            self.assertEqual(made.returncode, 0, made.stderr)
            self.assertEqual(json.loads(made.stdout)["input_ids"], expected[f"ids.{k}"].tolist())
            self.assertNotIn("warning", made.stderr)
            wanted = expected[f"pixels.{k}"]
            found = pixels[f"pixels.{k}"].reshape(wanted.shape)
            self.assertTrue(torch.equal(found, wanted), f"{folder}: pixels of {image.name} differ by {(found - wanted).abs().max()}")

    def export(self, folder):
        questions = self.folder / "questions.jsonl"
        questions.write_text("".join(json.dumps({"question_id": k, "image": image.name, "text": QUESTION}) + "\n"
                                     for k, image in enumerate(asked(folder.parent.name))))
        stats, plan, pruned = (self.folder / f"{folder.parent.name}.{kind}" for kind in ("h5", "plan.json", "pruned"))
        self.yopo("calibrate", "--model", folder, "--questions", questions, "--images", SHARED, "--output", stats, *PLAIN)
        self.yopo("plan", "--stats", stats, "--model", folder, "--heads-keep", "0.5", "--ffn-keep", "0.25", "--output", plan)
        self.yopo("export", "--model", folder, "--plan", plan, "--output", pruned)
        return pruned

    def check(self, version):
        """What that version saved, and its export, load whole and with the same logits: in both versions, but that 4.57 does not
        know rope_parameters and so not what 5.24 saves."""
        pairs = []
        for name in SAVED:
            folder, expected = written(version)[name]
            with self.subTest(family=name):
                self.check_prompts(folder, expected)
                self.check_logits(folder, expected)
            pairs += [(place, folder.parent / "expected.safetensors") for place in (folder, self.export(folder))]
        for reader in VERSIONS if version == "4.57" else [version]:
            reports = json.loads(python(reader, "load_checkpoint.py", *[part for pair in pairs for part in pair]))
            for (place, _), report in zip(pairs, reports, strict=True):
                with self.subTest(reader=reader, folder=str(place)):
                    self.assertEqual((report["missing"], report["unexpected"], report["mismatched"]), ([], [], []))
                    self.assertTrue(report["difference"] <= LIMIT, report["difference"])

    def test_saved_by_4(self):
        self.check("4.57")

    def test_saved_by_5(self):
        self.check("5.24")


class ConfigTest(VersionCase):
    """What a config.json may say, as both versions say it."""

    def test_configs(self):
        for version in VERSIONS:
            for name, (kind, _) in CONFIGS.items():
                if name in SAVED:
                    continue
                with self.subTest(version=version, config=name):
                    folder, expected = written(version)[name]
                    self.check_logits(folder, expected)
                    other = self.trace(written(version)[kind][0], expected, 0)
                    changed = (other - expected["logits.0"]).abs().max() / expected["logits.0"].abs().max()
                    self.assertGreater(changed.item(), 10 * LIMIT, "the change hardly matters, so this shows nothing")


if __name__ == "__main__":
    unittest.main()
