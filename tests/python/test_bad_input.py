"""Bad input, through the command itself: exit code 2, one clear message that names the culprit, nothing half-written."""
import json
import resource
import shutil
import unittest

import numpy as np

from checkpoint_files import Weights, copy_checkpoint
from refusals import IMAGE, BadInput, contents
from support import CALIB, MODEL, TEST, TOWER

LAYERS, HEADS, NEURONS = 11, 8, 384
QUERY = "language_model.model.layers.3.self_attn.q_proj.weight"
DOWN = "language_model.model.layers.3.mlp.down_proj.weight"


class CheckpointTest(BadInput):
    def broken(self, change):
        """A checkpoint after change(weights) -> keyword arguments of Weights.write, or None."""
        folder = self.folder / "checkpoint"
        shutil.rmtree(folder, ignore_errors=True)
        file = copy_checkpoint(MODEL, folder)
        weights = Weights(file)
        weights.write(file, **(change(weights) or {}))
        return folder

    def check(self, change, *naming):
        folder = self.broken(change)
        self.refused(*self.generate(folder), naming=naming)
        self.refused("export", "--model", folder, "--plan", self.random_plan(), "--output", self.folder / "pruned",
                     naming=naming)

    def test_whole_checkpoint_passes(self):
        """The other tests mean something only if taking apart and putting together breaks nothing by itself."""
        self.yopo(*self.generate(self.broken(lambda weights: None)))

    def test_truncated(self):
        folder = self.broken(lambda weights: None)
        file = folder / "model.safetensors"
        whole = file.read_bytes()
        for size in (len(whole) - 100, 2000, 8, 5, 0):
            with self.subTest(bytes=size):
                file.write_bytes(whole[:size])
                self.refused(*self.generate(folder), naming=["model.safetensors"])

    def test_longer_than_its_tensors(self):
        self.check(lambda weights: weights.data.extend(bytes(64)), "model.safetensors")

    def test_lying_header_length(self):
        for length in (2**63, 2**64 - 1, 10**9, 1, 0):
            with self.subTest(length=length):
                self.refused(*self.generate(self.broken(lambda weights: {"length": length})), naming=["model.safetensors"])

    def test_header_is_no_json(self):
        self.check(lambda weights: {"header": b"{\"a\": [1, 2" + b" " * 50}, "model.safetensors")

    def test_deeply_nested_header(self):
        self.check(lambda weights: {"header": b"{\"a\":" + b"[" * 100_000}, "model.safetensors")

    def test_repeated_name(self):
        def change(weights):
            text = json.dumps(weights.header)
            record = json.dumps({QUERY: weights.header[QUERY]})[1:-1]
            return {"header": (text[:-1] + ", " + record + "}").encode()}
        self.check(change, "model.safetensors")

    def test_overlapping(self):
        def change(weights):
            weights.header[QUERY]["data_offsets"] = list(
                weights.header[QUERY.replace("q_proj", "k_proj")]["data_offsets"])
        self.check(change, "model.safetensors", "_proj.weight")

    def test_oversized(self):
        def change(weights):
            begin, end = weights.header[QUERY]["data_offsets"]
            weights.header[QUERY]["data_offsets"] = [begin + 2**40, end + 2**40]
        self.check(change, "model.safetensors")

    def test_shape_that_overflows(self):
        def change(weights):
            weights.header[QUERY]["shape"] = [2**62, 2**62, 16]
        self.check(change, "model.safetensors", QUERY)

    def test_shape_that_lies(self):
        for shape in ([128, 127], [-128, -128], [128.5, 128], "128", []):
            def change(weights, shape=shape):
                weights.header[QUERY]["shape"] = shape
            with self.subTest(shape=shape):
                self.refused(*self.generate(self.broken(change)), naming=["model.safetensors", QUERY])

    def test_unknown_dtype(self):
        def change(weights):
            weights.header[QUERY]["dtype"] = "F17"
        self.check(change, QUERY, "F17")

    def test_missing_tensor(self):
        def change(weights):
            weights.header[QUERY.replace("q_proj", "p_proj")] = weights.header.pop(QUERY)
        self.check(change, QUERY)

    def test_misshapen_tensor(self):
        def change(weights):
            weights.header[DOWN]["shape"].reverse()
        self.check(change, DOWN, "[128, 384]", "[384, 128]")

    def test_nan(self):
        def change(weights):
            begin = weights.header[DOWN]["data_offsets"][0]
            weights.data[begin + 10:begin + 12] = b"\x00\x7e"
        self.check(change, DOWN)
        self.refused("calibrate", "--model", self.folder / "checkpoint", *CALIB.flags(), "--samples", 2, "--output",
                     self.folder / "nan.h5", naming=[])

    def test_shard_outside_the_folder(self):
        folder = self.broken(lambda weights: None)
        names = Weights(folder / "model.safetensors").tensors()
        outside = self.folder / "outside.safetensors"
        (folder / "model.safetensors").rename(outside)
        for shard in ("../outside.safetensors", str(outside), "sub/../../outside.safetensors", "", "absent.safetensors"):
            with self.subTest(shard=shard):
                index = {"metadata": {}, "weight_map": dict.fromkeys(names, shard)}
                (folder / "model.safetensors.index.json").write_text(json.dumps(index))
                self.refused(*self.generate(folder), naming=["model.safetensors.index.json" if shard != "absent.safetensors" else shard])

    def test_config(self):
        folder = self.broken(lambda weights: None)
        good = (folder / "config.json").read_text()
        for old, new, word in (('"num_hidden_layers": 11', '"num_hidden_layers": 0', "num_hidden_layers"),
                               ('"hidden_size": 128', '"hidden_size": "wide"', "hidden_size"),
                               ("LlavaForConditionalGeneration", "NoSuchModel", "NoSuchModel"), ("}", "", "config.json")):
            with self.subTest(change=new):
                self.assertIn(old, good)
                (folder / "config.json").write_text(good.replace(old, new, 1))
                self.refused(*self.generate(folder), naming=[word])
        (folder / "config.json").unlink()
        self.refused(*self.generate(folder), naming=["config.json"])
        self.refused(*self.generate(self.folder / "no_such_folder"), naming=["no_such_folder"])


    def test_git_lfs_pointer(self):
        """In place of any file that is read."""
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 123456\n"
        for name in ("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
            with self.subTest(name):
                folder = self.broken(lambda weights: None)
                (folder / name).write_text(pointer)
                self.refused(*self.generate(folder), naming=[folder / name, "Git LFS pointer", "git lfs pull"])
        for name in ("image.png", "stats.h5", "questions.jsonl", "mask.npy", "plan.json"):
            (self.folder / name).write_text(pointer)
        flags = {"image.png": ["generate", "--model", MODEL, "--prompt", "x", "--image"],
                 "stats.h5": ["plan", "--model", MODEL, "--output", self.folder / "made.json", "--ffn-keep", "0.5", "--stats"],
                 "questions.jsonl": ["calibrate", "--model", MODEL, "--images", TEST.images, "--output", self.folder / "made.h5", "--questions"],
                 "mask.npy": ["plan", "--model", MODEL, "--output", self.folder / "made.json", "--head-mask"],
                 "plan.json": ["export", "--model", MODEL, "--output", self.folder / "made", "--plan"]}
        for name, command in flags.items():
            with self.subTest(name):
                self.refused(*command, self.folder / name, naming=[self.folder / name, "Git LFS pointer"])

    def test_quantised(self):
        folder = self.broken(lambda weights: None)
        config = json.loads((folder / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
        (folder / "config.json").write_text(json.dumps(config))
        self.refused(*self.generate(folder), naming=["config.json", "bitsandbytes", "not supported"])

    def test_folder_that_cannot_be_made(self):
        """The reason, and not "Success"."""
        result = self.refused("export", "--model", MODEL, "--plan", self.plan(), "--output", "/proc/pruned",
                              naming=["cannot make folder /proc/pruned.partial-", "No such file or directory"])
        self.assertNotIn("Success", result.stderr)


class DataTest(BadInput):
    def questions(self, *records):
        file = self.folder / "questions.jsonl"
        file.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records))
        return file

    def check(self, *records, naming):
        images = self.folder / "images"
        images.mkdir(exist_ok=True)
        shutil.copy(IMAGE, images / "good.png")
        (images / "text.png").write_text("this is no image\n")
        (images / "cut.png").write_bytes(IMAGE.read_bytes()[:200])
        # Nothing is left: the bad image is found before the first sample is measured.
        self.refused("calibrate", "--model", MODEL, "--questions", self.questions(*records), "--images", images, "--output",
                     self.folder / "stats.h5", naming=naming)

    def record(self, number, image="good.png", text="Is there a 6 in the image?"):
        return {"question_id": number, "image": image, "text": text}

    def test_image_that_is_none(self):
        self.check(self.record(0), self.record(1, "text.png"), naming=["text.png", "questions.jsonl:2"])
        self.check(self.record(0), self.record(1, "cut.png"), naming=["cut.png", "questions.jsonl:2"])
        self.refused("generate", "--model", MODEL, "--image", self.folder / "images" / "text.png", "--prompt", "What?",
                     naming=["text.png"])

    def test_question_without_its_image(self):
        self.check(self.record(0), self.record(1, "gone.png"), naming=["gone.png", "questions.jsonl:2"])

    def test_image_outside_the_folder(self):
        shutil.copy(IMAGE, self.folder / "outside.png")
        self.check(self.record(0, "../outside.png"), naming=["../outside.png", "questions.jsonl:1"])

    def test_question_file(self):
        self.check(self.record(0), '{"question_id": 1, ', naming=["questions.jsonl:2"])
        self.check({"question_id": 0, "image": "good.png"}, naming=["questions.jsonl:1", "text"])
        self.check(naming=["questions.jsonl"])

    def test_head_mask(self):
        mask = self.folder / "mask.npy"
        for array in (np.ones((HEADS, LAYERS), bool), np.ones((LAYERS, HEADS + 1), bool), np.ones(88, bool),
                      np.ones((LAYERS, HEADS), "c16"), None):
            with self.subTest(shape=None if array is None else array.shape):
                if array is None:
                    mask.write_bytes(b"\x93NUMPY\x01\x00\xff\xff{'descr'")
                else:
                    np.save(mask, array)
                self.refused("plan", "--stats", self.stats(), "--model", MODEL, "--head-mask", mask, "--output",
                             self.folder / "plan.json", naming=["mask.npy"])

    def test_statistics_file(self):
        good = self.stats()
        bad = self.folder / "bad.h5"
        for content in (b"no HDF5", good.read_bytes()[:3000], b""):
            bad.write_bytes(content)
            self.refused("plan", "--stats", bad, "--model", MODEL, "--ffn-keep", "0.5", "--output", self.folder / "plan.json",
                         naming=["bad.h5"])


class PlanTest(BadInput):
    def test_plan_for_another_model(self):
        tower = self.plan(TOWER)
        self.refused("export", "--model", MODEL, "--plan", tower, "--output", self.folder / "pruned", naming=["8", "11"])
        self.refused(*self.generate(MODEL), "--plan", tower, naming=["8", "11"])
        self.refused("plan", "--stats", self.stats(TOWER), "--model", MODEL, "--ffn-keep", "0.5", "--output",
                     self.folder / "plan.json", naming=["8", "11"])

    def test_no_model(self):
        """An aborted process was the answer once (GCC 12, an exception out of an aggregate's braces)."""
        self.refused("plan", "--stats", self.stats(), "--model", self.folder / "none", "--ffn-keep", "0.5", "--output",
                     self.folder / "plan.json", naming=["none"])

    def test_keep_above_what_is_there(self):
        stats = self.stats()
        for flag, value, there in (("--heads-keep", HEADS + 1, HEADS), ("--updates-keep", HEADS + 1, HEADS),
                                   ("--ffn-keep", NEURONS + 1, NEURONS), ("--visual-layers", LAYERS + 1, LAYERS),
                                   ("--heads-keep", "1.5", "1.5"), ("--ffn-keep", "-0.5", "-0.5"), ("--window", 4, 4)):
            with self.subTest(flag=flag, value=value):
                self.refused("plan", "--stats", stats, "--model", MODEL, f"{flag}={value}", "--output", self.folder / "plan.json",
                             naming=[there])

    def test_damaged_plan(self):
        good = json.loads(self.plan().read_text())
        bad = self.folder / "bad.json"
        for key, value in (("version", 3), ("semantics", "skipp"), ("layres", []), ("visual_layers", 12)):
            with self.subTest(key=key, value=str(value)[:30]):
                bad.write_text(json.dumps({**good, key: value}))
                self.refused(*self.generate(MODEL), "--plan", bad, naming=["bad.json", key])
        for key, value in (("neurons", [5, 4]), ("neurons", [NEURONS]), ("window", {"size": 2}), ("heads", [1]), ("hedas", []),
                           ("alive", "yes")):
            with self.subTest(key=key, value=str(value)[:30]):
                layers = [*good["layers"][:3], {**good["layers"][3], key: value}, *good["layers"][4:]]
                bad.write_text(json.dumps({**good, "layers": layers}))
                self.refused(*self.generate(MODEL), "--plan", bad, naming=["bad.json: layer 3", key])
        dead = [{**good["layers"][0], "alive": False}, *good["layers"][1:]]
        bad.write_text(json.dumps({**good, "layers": dead}))
        self.refused(*self.generate(MODEL), "--plan", bad, naming=["bad.json", "layer 1 is alive after layer 0"])
        bad.write_text(json.dumps(good)[:-200])
        self.refused(*self.generate(MODEL), "--plan", bad, naming=["bad.json"])

    def test_flags(self):
        self.refused("plan", "--stats", self.stats(), "--model", MODEL, "--ffn-kep", "0.5", naming=["--ffn-kep", "--ffn-keep"])
        self.refused("plan", "--model", MODEL, "--ffn-keep", "half", "--output", self.folder / "plan.json", naming=["half"])
        for part, word in (("3/2", "1 <= K <= N"), ("0/2", "counted from 1"), ("1", "K/N"), ("1/0", "K/N")):
            self.refused("calibrate", "--model", MODEL, *CALIB.flags(), "--part", part, "--output", self.folder / "part.h5",
                         naming=["--part", f"'{part}'", word])

    def test_options_that_say_nothing(self):
        """A flag that would be ignored is a misunderstanding."""
        for flags, words in ((["--vote", "0.5"], ["--threshold"]), (["--ffn-score", "rms"], ["--ffn-keep"]),
                             (["--window-causal"], ["--window"]), (["--heads-keep", "0.5", "--threshold", "0.1"], ["exactly one"]),
                             (["--updates-mask", "m.npy", "--updates-exempt-layers", "1"], ["--updates-exempt-layers"])):
            with self.subTest(flags=flags):
                self.refused("plan", "--stats", self.stats(), "--model", MODEL, *flags, "--output", self.folder / "plan.json",
                             naming=["yopo: plan: ", *words])


RECIPE = """\
model: {{path: {model}, dtype: fp32}}
output: {output}
calibration:
  dataset: {{questions: {calib.questions}, images: {calib.images}, samples: 6}}
plan:
  window: {{size: 3, causal: true}}
  ffn: {{keep: 0.25, scope: model}}
  visual_layers: 10
verify: {{samples: 2}}
evaluate:
  - {{benchmark: vqa, questions: {test.questions}, images: {test.images}, samples: 12, batch_size: 6}}
"""
RESULTS = ["comparison.json", "eval.json", "headmask.npy", "plan.json", "recipe.yaml", "stats.h5", "verify.json"]


class RecipeTest(BadInput):
    def recipe(self, old="", new=""):
        text = RECIPE.format(model=MODEL, output=self.folder / "out", calib=CALIB, test=TEST)
        self.assertIn(old, text)
        file = self.folder / "recipe.yaml"
        file.write_text(text.replace(old, new, 1))
        return file

    def test_misspelt_key(self):
        for old, new, found, meant in (("  ffn:", "  fnn:", "fnn", "ffn"), ("visual_layers", "visual_layer", "visual_layer", "visual_layers"),
                                       ("causal", "casual", "casual", "causal"), ("verify:", "verifi:", "verifi", "verify")):
            with self.subTest(key=found):
                self.refused("run", self.recipe(old, new), naming=["recipe.yaml:", found, f"'{meant}'"])

    def test_wrong_type(self):
        for old, new, word in (("visual_layers: 10", "visual_layers: many", "visual_layers"), ("keep: 0.25", "keep: [1]", "keep"),
                               ("samples: 6", "samples: -6", "samples"), ("causal: true", "causal: perhaps", "causal"),
                               ("scope: model", "scope: modell", "model"), ("output: ", "output: [", "recipe.yaml")):
            with self.subTest(change=new):
                self.refused("run", self.recipe(old, new), naming=["recipe.yaml:", word])

    def test_out_of_range(self):
        for old, new, word in (("size: 3", "size: 4", "size"), ("keep: 0.25", "keep: 1.25", "1.25")):
            with self.subTest(change=new):
                self.refused("run", self.recipe(old, new), naming=["recipe.yaml:", word])
        # What only the model can tell is told before anything expensive, or at the latest before anything is exported.
        whole = ("recipe.yaml", "stats.h5", "out")
        for old, new, word in (("keep: 0.25, scope: model", "keep: 385", "384"), ("visual_layers: 10", "visual_layers: 12", "11")):
            with self.subTest(change=new):
                shutil.rmtree(self.folder / "out", ignore_errors=True)
                self.refused("run", self.recipe(old, new), naming=[word], may_leave=whole)

    def test_second_run_into_the_same_output(self):
        recipe, out = self.recipe(), self.folder / "out"
        self.yopo("run", recipe)
        for name in RESULTS + ["pruned/config.json", "pruned/model.safetensors"]:
            self.assertTrue((out / name).is_file(), name)
        first = contents(out)
        shown = self.yopo("run", recipe)
        self.assertEqual(contents(out), first)
        for line in ("verify: as in", "vqa (dense): as answered in", "vqa (pruned): as answered in", "times: as in"):
            self.assertIn(line, shown.stderr)
        # What is lost or damaged is made again, and only that.
        for name, reused, still in (("verify.json", "verify: as in", "times: as in"), ("comparison.json", "times: as in", "verify: as in"),
                                    ("answers/vqa-pruned.jsonl", "vqa (pruned): as answered in", "vqa (dense): as answered in")):
            with self.subTest(lost=name):
                (out / name).unlink()
                shown = self.yopo("run", recipe).stderr
                self.assertNotIn(reused, shown)
                self.assertIn(still, shown)
                self.assertTrue((out / name).is_file())
                if name != "comparison.json":  # times differ
                    self.assertEqual(contents(out)[name], first[name])
        (out / "verify.json").write_text("{")
        self.assertIn("made again", self.yopo("run", recipe).stderr)
        for change in ("plan.ffn.keep=0.5", "calibration.dataset.samples=7", "seed=3"):
            with self.subTest(change=change):
                self.refused("run", recipe, "--set", change, naming=[out])
        # A plan that does not fit the other model is told of first.
        self.refused("run", recipe, "--set", f"model.path={TOWER}", naming=["visual_layers: 10 layers", "the 8 that the model has"])


def small_disk(limit):
    """For a child: no file may grow past `limit` bytes, and trying to is an error of the write, as on a full disk."""
    def limit_it():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    # Python has SIGXFSZ ignored; without restore_signals the child inherits that, and write() fails with EFBIG.
    return {"preexec_fn": limit_it, "restore_signals": False}


class FullDiskTest(BadInput):
    def test_calibrate(self):
        self.refused("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 4, "--output", self.folder / "stats.h5",
                     naming=["stats.h5"], **small_disk(16 << 10))

    def test_plan(self):
        self.refused("plan", "--stats", self.stats(), "--model", MODEL, "--ffn-keep", "0.25", "--output",
                     self.folder / "plan.json", naming=["plan.json"], **small_disk(1 << 10))

    def test_export(self):
        plan, pruned = self.plan(), self.folder / "pruned"
        for limit in (1 << 10, 1 << 20):
            with self.subTest(limit=limit):
                self.refused("export", "--model", MODEL, "--plan", plan, "--output", pruned, naming=["pruned"], **small_disk(limit))
        self.yopo("export", "--model", MODEL, "--plan", plan, "--output", pruned)

    def test_eval_goes_on_once_there_is_room(self):
        def eval_into(name):
            return ["eval", "--model", MODEL, *TEST.flags(), "--samples", 40, "--batch-size", 4, "--max-new-tokens", 2,
                    "--dtype", "fp32", "--threads", 1, "--output", self.folder / name]
        self.yopo(*eval_into("whole"))
        whole = (self.folder / "whole" / "answers" / "vqa-dense.jsonl").read_bytes()
        self.refused(*eval_into("full"), naming=["vqa-dense.jsonl"], **small_disk(4 << 10),
                     may_leave=("full", "answers", "vqa-dense.jsonl", "vqa-dense.jsonl.fingerprint"))
        journal = self.folder / "full" / "answers" / "vqa-dense.jsonl"
        self.assertLess(0, journal.stat().st_size)
        self.yopo(*eval_into("full"))
        self.assertEqual(journal.read_bytes(), whole)

    def test_export_over_something_else(self):
        pruned = self.folder / "pruned"
        pruned.mkdir()
        (pruned / "notes.txt").write_text("mine\n")
        self.refused("export", "--model", MODEL, "--plan", self.plan(), "--output", pruned, naming=["pruned"])


if __name__ == "__main__":
    unittest.main()
