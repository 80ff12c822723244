"""Files and flags that do not belong together: each pair is refused by name instead of giving a number that means nothing."""
import json
import unittest

import h5py

from checkpoint_files import Weights, copy_checkpoint
from refusals import IMAGE, SHARED, BadInput
from support import CALIB, MODEL, ROOT, TEST

DEMO = ROOT / "configs" / "demo.yaml"


class MisuseCase(BadInput):
    def pruned(self):
        """An export of the model under self.plan(), made once for all tests."""
        folder = SHARED / "pruned"
        if not folder.exists():
            self.yopo("export", "--model", MODEL, "--plan", self.plan(), "--output", folder)
        return folder

    def other(self):
        """A checkpoint of the model's sizes with other weights."""
        folder = self.folder / "other"
        file = copy_checkpoint(MODEL, folder)
        weights = Weights(file)
        begin = weights.header["language_model.model.layers.3.mlp.up_proj.weight"]["data_offsets"][0]
        weights.data[begin] ^= 1
        weights.write(file)
        return folder


class PlanModelTest(MisuseCase):
    def test_a_model_that_is_none(self):
        bare, broken = self.folder / "bare", self.folder / "broken"
        bare.mkdir()
        broken.mkdir()
        (broken / "config.json").write_text('{"architectures": ')
        for model, name in ((self.folder / "nowhere", "nowhere"), (bare, "bare"), (broken, "broken")):
            for flags in (["--window", 3], ["--stats", self.stats(), "--ffn-keep", "0.5"]):
                with self.subTest(model=name, flags=flags[0]):
                    self.refused("plan", "--model", model, *flags, "--output", self.folder / "plan.json", naming=[name])


class OrderTest(MisuseCase):
    """A plan's numbers of heads and neurons are those of one checkpoint."""

    def commands(self, model):
        # The inputs are never reached.
        yield self.generate(model)
        yield ["eval", "--model", model, *TEST.flags(), "--samples", 4, "--output", self.folder / "scores"]
        yield ["bench", "--model", model, "--visual", 9, "--text", 4, "--rounds", 1, "--decode-tokens", 1]
        yield ["trace", "--model", model, "--inputs", self.folder / "none.safetensors", "--output", self.folder / "trace.safetensors"]

    def test_the_originals_plan_on_an_export(self):
        for command in self.commands(self.pruned()):
            with self.subTest(command=command[0]):
                self.refused(*command, "--plan", self.plan(), naming=[self.plan(), self.pruned(), "reordered"])
        # The original runs under it, and what names no head or neuron runs anywhere.
        self.yopo(*self.generate(MODEL), "--plan", self.plan())
        window = self.folder / "window.json"
        self.yopo("plan", "--model", MODEL, "--window", 3, "--visual-layers", 9, "--output", window)
        self.yopo(*self.generate(self.pruned()), "--plan", window)

    def test_a_plan_of_the_export_itself(self):
        stats, plan = self.folder / "stats.h5", self.folder / "plan.json"
        self.yopo("calibrate", "--model", self.pruned(), *CALIB.flags(), "--samples", 2, "--output", stats)
        self.yopo("plan", "--model", self.pruned(), "--stats", stats, "--ffn-keep", "0.5", "--output", plan)
        self.yopo(*self.generate(self.pruned()), "--plan", plan)
        self.refused(*self.generate(MODEL), "--plan", plan, naming=[plan, MODEL, "another checkpoint"])

    def test_statistics_of_another_checkpoint(self):
        other = self.other()
        self.refused("plan", "--model", other, "--stats", self.stats(), "--ffn-keep", "0.5", "--output", self.folder / "plan.json",
                     naming=[self.stats(), other, "another checkpoint"])
        self.refused("export", "--model", other, "--plan", self.plan(), "--output", self.folder / "pruned",
                     naming=[other, "another checkpoint"])
        for command in self.commands(other):
            with self.subTest(command=command[0]):
                self.refused(*command, "--plan", self.plan(), naming=[other, "another checkpoint"])
        recipe = self.folder / "recipe.yaml"
        recipe.write_text(f"model: {other}\noutput: {self.folder / 'out'}\nplan: {{ffn: {{keep: 0.5}}}}\n")
        self.refused("plan", recipe, "--stats", self.stats(), "--output", self.folder / "plan.json",
                     naming=[other, "another checkpoint"])
        # The architecture alone has no weights to compare.
        self.yopo("plan", "--model", other / "config.json", "--stats", self.stats(), "--ffn-keep", "0.5", "--output",
                  self.folder / "plan.json")


class RecipeFlagsTest(MisuseCase):
    def test_flags_that_would_not_be_heard(self):
        plan = self.folder / "none.json"
        for command in (["eval", DEMO, "--model", MODEL], ["eval", DEMO, "--samples", 5],
                        ["eval", DEMO, "--benchmark", "vqa", "--plan", plan], ["eval", DEMO, "--dense"],
                        ["eval", DEMO, "--compare", plan], ["verify", DEMO, "--samples", 3], ["verify", DEMO, "--output", plan],
                        ["calibrate", DEMO, "--model", "nope"], ["calibrate", DEMO, "--samples", 10],
                        ["calibrate", DEMO, "--part", "1/2"], ["plan", DEMO, "--ffn-keep", "0.5"], ["plan", DEMO, "--random", 3],
                        ["plan", DEMO, "--force"], ["export", DEMO, "--model", MODEL], ["export", DEMO, "--shard-size", "1GB"]):
            with self.subTest(command=" ".join(map(str, command))):
                flag = next(word for word in command if str(word).startswith("--"))
                self.refused(*command, "--set", f"output={self.folder / 'out'}", naming=[f"yopo: {command[0]}: ", flag, "--set"])
        self.refused("calibrate", "--model", MODEL, *CALIB.flags(), "--output", self.folder / "stats.h5", "--set", "seed=3",
                     naming=["--set"])


class VerifyTest(MisuseCase):
    def test_an_original_that_is_none(self):
        flags = ["verify", "--model", self.pruned(), *CALIB.flags(), "--samples", 1, "--output", self.folder / "verify.json"]
        self.refused(*flags, "--original", self.pruned(), naming=[self.pruned(), "proves nothing"])
        tower = ROOT / "examples" / "digitgrid" / "model_tower"
        self.refused(*flags, "--original", tower, naming=[self.pruned(), tower, "11 layers", "8 layers"])

    def test_an_output_that_cannot_be_written(self):
        (self.folder / "file").write_text("")
        absent = ["--questions", self.folder / "none.jsonl"]
        for output in (self.folder, self.folder / "file" / "result.json"):
            # Named before the questions, which are read before the work.
            self.refused("verify", "--model", self.pruned(), *absent, "--output", output, naming=[self.folder if output == self.folder else output.parent])
            self.refused("trace", "--model", MODEL, "--inputs", self.folder / "none.safetensors", "--output", output,
                         naming=[self.folder if output == self.folder else output.parent])
        images = self.folder / "images"
        images.mkdir()
        (images / "bad.png").write_bytes(IMAGE.read_bytes()[:200])
        questions = self.folder / "questions.jsonl"
        questions.write_text(json.dumps({"question_id": 0, "image": "bad.png", "text": "What?"}) + "\n")
        self.refused("calibrate", "--model", MODEL, "--questions", questions, "--images", images, "--output",
                     self.folder / "file" / "stats.h5", naming=[self.folder / "file"])


class MergeTest(MisuseCase):
    def part(self, part, name):
        file = self.folder / name
        self.yopo("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 6, "--part", part, "--output", file)
        return file

    def test_parts(self):
        one, two, three = (self.part(f"{k}/3", f"{k}.h5") for k in (1, 2, 3))
        merged, keep = self.folder / "merged.h5", self.folder / "keep.h5"
        self.refused("merge", one, three, "--output", merged, naming=["2/3 is missing"])
        self.refused("merge", two, "--output", merged, naming=["1/3, 3/3 is missing"])
        self.refused("merge", one, two, three, "--output", two, naming=[two, "one of the parts"])
        self.refused("merge", one, self.part("2/2", "half.h5"), "--output", merged, naming=["other divisions"])
        self.yopo("calibrate", "--model", MODEL, *CALIB.flags(), "--samples", 4, "--output", keep)
        self.refused("merge", one, two, three, "--output", keep, naming=[keep, "4 samples"])
        self.yopo("merge", three, one, two, "--output", merged)
        whole = merged.read_bytes()
        with h5py.File(merged) as file:
            self.assertEqual(len(file["/samples/id"]), 6)
            self.assertNotIn("part", file.attrs)
        self.yopo("merge", one, two, three, "--output", merged)  # the same again
        self.assertEqual(merged.read_bytes(), whole)


class PromptsTest(MisuseCase):
    """What was begun with other prompts or pixels is not gone on with."""

    def test_files_that_make_prompts(self):
        model = self.folder / "model"
        copy_checkpoint(MODEL, model)
        stats, scores = self.folder / "stats.h5", self.folder / "scores"
        calibrate = ["calibrate", "--model", model, *CALIB.flags(), "--samples", 2, "--output", stats]
        evaluate = ["eval", "--model", model, *TEST.flags(), "--samples", 2, "--output", scores]
        for command in (calibrate, evaluate, calibrate, evaluate):
            self.yopo(*command)
        for name, old, new in (("chat_template.json", "USER", "User"), ("preprocessor_config.json", "0.48145467042922974", "0.5"),
                               ("tokenizer_config.json", "512", "511")):
            text = (model / name).read_text()
            self.assertIn(old, text, name)
            (model / name).write_text(text.replace(old, new))
            with self.subTest(file=name):
                self.refused(*calibrate, naming=[stats, "chat template, tokenizer or image rules"])
                self.refused(*evaluate, naming=["vqa-dense.jsonl", "way to make prompts"])
            (model / name).write_text(text)
        self.yopo(*evaluate)


class AnswersTest(MisuseCase):
    def answers(self):
        """An answer file to all of the test's questions."""
        file = self.folder / "answers.jsonl"
        file.write_text("".join(json.dumps({"question_id": sample["question_id"], "text": "Yes"}) + "\n" for sample in TEST.samples()))
        return file

    def test_ready_answers_need_no_images_and_no_model(self):
        questions = ["--questions", TEST.questions]
        scored = self.yopo_json("eval", *questions, "--answers", self.answers())["results"][0]
        expected = self.yopo_json("eval", *TEST.flags(), "--answers", self.answers())["results"][0]
        self.assertEqual(scored["score"], expected["score"])
        self.assertGreater(scored["score"], 0)
        self.assertIsNone(scored["pruned"])
        lines = self.answers().read_text().splitlines(keepends=True)
        halves = [self.folder / "a.jsonl", self.folder / "b.jsonl"]
        halves[0].write_text("".join(lines[::2]))
        halves[1].write_text("".join(lines[1::2]))
        merged = self.yopo_json("eval", *questions, "--merge", *halves, "--output", self.folder / "merged.jsonl")["results"][0]
        self.assertEqual((merged["score"], merged["pruned"]), (scored["score"], None))
        table = self.yopo("eval", *questions, "--answers", self.answers()).stdout
        self.assertRegex(table, r"vqa +- +all 1000")
        self.assertNotIn("dense", table)
        self.refused("eval", *questions, "--model", MODEL, "--output", self.folder / "scores", naming=["no images folder"])

    def test_answers_to_compare_are_read_before_anything_is_asked(self):
        wrong = self.folder / "wrong.jsonl"
        wrong.write_text('{"question_id": "none of these", "text": "Yes"}\n')
        for file in (self.folder / "none.jsonl", wrong):
            self.refused("eval", "--model", MODEL, *TEST.flags(), "--output", self.folder / "scores", "--compare", file, naming=[file])


if __name__ == "__main__":
    unittest.main()
