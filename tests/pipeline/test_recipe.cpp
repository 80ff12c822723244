#include "pipeline/recipe.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const std::string kDemo = R"(model: {path: examples/digitgrid/model, dtype: auto}
device: auto
seed: 7
output: out/demo
calibration:
  dataset: {format: llava, questions: calib.jsonl, images: images, samples: 100}
  queries: text
plan:
  window: {size: 3, causal: true}
  heads: {keep: 1.0}
  updates: {keep: 0.25, scope: model, exempt_layers: 1}
  ffn: {keep: 0.25, score: wanda, scope: model}
  visual_layers: 10
export: {shard_size: 5GB}
verify: {samples: 16}
evaluate: [{benchmark: vqa, questions: test.jsonl, images: images, annotations: a.json, batch_size: 4, max_new_tokens: 8, samples: 50}]
)";
const std::string kSmall = "model: m\noutput: o\n";

Recipe small(const std::string& rest, const std::vector<std::string>& overrides = {}) {
  return parse_recipe(kSmall + rest, "f.yaml", overrides);
}

TEST(Recipe, EveryKeyOfTheDesign) {
  const Recipe r = parse_recipe(kDemo, "demo.yaml");
  EXPECT_EQ(r.model, "examples/digitgrid/model");
  EXPECT_EQ(r.dtype, "auto");
  EXPECT_EQ(r.device, "auto");
  EXPECT_EQ(r.seed, 7u);
  EXPECT_EQ(r.output, "out/demo");
  ASSERT_TRUE(r.calibration);
  EXPECT_EQ(r.calibration->dataset.format, "llava");
  EXPECT_EQ(r.calibration->dataset.questions, "calib.jsonl");
  EXPECT_EQ(r.calibration->dataset.images, "images");
  EXPECT_EQ(r.calibration->dataset.samples, 100);
  EXPECT_EQ(r.calibration->queries, Queries::Text);
  ASSERT_TRUE(r.plan && r.plan->window && r.plan->heads && r.plan->updates && r.plan->ffn && r.plan->visual_layers);
  EXPECT_EQ(r.plan->window->size, 3);
  EXPECT_TRUE(r.plan->window->causal);
  EXPECT_TRUE(r.plan->heads->keep->fraction);
  EXPECT_EQ(r.plan->heads->keep->value, 1.0);
  EXPECT_EQ(r.plan->heads->scope, Scope::Layer);
  EXPECT_EQ(exempt_layers(*r.plan->heads), 0);
  EXPECT_EQ(r.plan->updates->keep->value, 0.25);
  EXPECT_EQ(r.plan->updates->scope, Scope::Model);
  EXPECT_EQ(r.plan->updates->exempt_layers, 1);
  EXPECT_EQ(r.plan->ffn->keep.value, 0.25);
  EXPECT_EQ(r.plan->ffn->score, NeuronScore::Wanda);
  EXPECT_EQ(r.plan->ffn->scope, Scope::Model);
  EXPECT_FALSE(r.plan->visual_layers->fraction);
  EXPECT_EQ(r.plan->visual_layers->value, 10);
  EXPECT_EQ(r.plan->semantics, "skip");
  EXPECT_EQ(r.shard_size, 5'000'000'000u);
  EXPECT_EQ(r.verify_samples, 16);
  ASSERT_EQ(r.evaluate.size(), 1u);
  EXPECT_EQ(r.evaluate[0].benchmark, "vqa");
  EXPECT_EQ(r.evaluate[0].dataset.questions, "test.jsonl");
  EXPECT_EQ(r.evaluate[0].dataset.images, "images");
  EXPECT_EQ(r.evaluate[0].dataset.annotations, "a.json");
  EXPECT_EQ(r.evaluate[0].dataset.samples, 50);
  EXPECT_EQ(r.evaluate[0].batch_size, 4);
  EXPECT_EQ(r.evaluate[0].max_new_tokens, 8);
}

TEST(Recipe, Defaults) {
  const Recipe r = small("");
  EXPECT_EQ(r.model, "m");
  EXPECT_EQ(r.dtype, "auto");
  EXPECT_EQ(r.seed, 0u);
  EXPECT_EQ(r.shard_size, 5'000'000'000u);
  EXPECT_FALSE(r.transformers_code);
  EXPECT_TRUE(small("export: {transformers_code: true}\n").transformers_code);
  EXPECT_USER_ERROR(small("export: {transformers_code: 3}\n"), "transformers_code");
  EXPECT_EQ(r.verify_samples, 16);
  EXPECT_FALSE(r.calibration || r.plan);
  EXPECT_TRUE(r.evaluate.empty());
  EXPECT_FALSE(small("plan: {window: none}\n").plan->window);
  EXPECT_FALSE(small("plan:\n").plan) << "an empty section is absent";
  EXPECT_EQ(parse_recipe("model: {path: m, dtype: bfloat16}\noutput: o", "f").dtype, "bf16");
}

TEST(Recipe, HeadChoices) {
  const Recipe r = small("plan:\n  heads: {threshold: 0.035, vote: 0.5}\n  updates: {mask: m.npy}\n");
  EXPECT_EQ(*r.plan->heads->threshold, 0.035);
  EXPECT_EQ(r.plan->heads->vote, 0.5);
  EXPECT_EQ(exempt_layers(*r.plan->heads), 2) << "the default with a threshold";
  EXPECT_EQ(r.plan->updates->mask, "m.npy");
  const Recipe counts = small("plan: {heads: {keep: 1}, ffn: {keep: 512}}\n");
  EXPECT_FALSE(counts.plan->heads->keep->fraction) << "1 is one head";
  EXPECT_EQ(counts.plan->heads->keep->value, 1);
  EXPECT_EQ(counts.plan->ffn->keep.value, 512);
  EXPECT_TRUE(small("plan: {visual_layers: 0.5}\n").plan->visual_layers->fraction);
  EXPECT_FALSE(small("plan: {visual_layers: 1}\n").plan->visual_layers->fraction) << "1 is one layer";
  EXPECT_USER_ERROR(small("plan: {heads: {}}\n"),
                    "f.yaml:3:15: plan.heads needs exactly one of keep, threshold and mask");
  EXPECT_USER_ERROR(small("plan: {heads: {keep: 1, mask: a}}\n"), "exactly one");
  EXPECT_USER_ERROR(small("plan: {heads: {keep: 1, vote: 0.3}}\n"),
                    "f.yaml:3:31: vote goes with threshold; plan.heads is chosen by keep");
  EXPECT_USER_ERROR(small("plan: {heads: {threshold: 0.1, scope: model}}\n"), "scope goes with keep");
  EXPECT_USER_ERROR(small("plan: {updates: {mask: a, exempt_layers: 1}}\n"),
                    "exempt_layers goes with keep or threshold");
}

TEST(Recipe, MistypedKeysNameFileLineColumnAndTheNearestKey) {
  std::string text = kDemo;
  text.replace(text.find("queries"), 7, "quaries");
  EXPECT_USER_ERROR(parse_recipe(text, "demo.yaml"),
                    "demo.yaml:7:3: unknown key 'quaries' in calibration; did you mean 'queries'?");
  EXPECT_USER_ERROR(small("outptu: x\n"), "f.yaml:3:1: unknown key 'outptu' in the recipe; did you mean 'output'?");
  EXPECT_USER_ERROR(small("plan: {head: {keep: 1}}\n"),
                    "f.yaml:3:8: unknown key 'head' in plan; did you mean 'heads'?");
  EXPECT_USER_ERROR(small("plan: {window: {sise: 3}}\n"), "unknown key 'sise' in plan.window; did you mean 'size'?");
  EXPECT_USER_ERROR(small("plan: {ffn: {keeep: 3}}\n"), "in plan.ffn; did you mean 'keep'?");
  EXPECT_USER_ERROR(small("plan: {updates: {kep: 3}}\n"), "in plan.updates; did you mean 'keep'?");
  EXPECT_USER_ERROR(small("calibration: {dataset: {image: x}}\n"), "in calibration.dataset; did you mean 'images'?");
  EXPECT_USER_ERROR(small("export: {shardsize: 1}\n"), "in export; did you mean 'shard_size'?");
  EXPECT_USER_ERROR(small("export: {transformer_code: true}\n"), "in export; did you mean 'transformers_code'?");
  EXPECT_USER_ERROR(small("verify: {sample: 1}\n"), "in verify; did you mean 'samples'?");
  EXPECT_USER_ERROR(small("evaluate: [{benchmark: vqa, question: x}]\n"), "in evaluate.0; did you mean 'questions'?");
  EXPECT_USER_ERROR(parse_recipe("model: {path: m, type: x}\noutput: o", "f"),
                    "unknown key 'type' in model; did you mean 'dtype'?");
}

TEST(Recipe, ABudgetWithItsSearch) {
  const Recipe r = small(
      "plan: {budget: 0.25}\nsearch: {evaluations: 9, minutes: 1.5, samples: 7, questions: 3, held_out: 0.5, "
      "max_new_tokens: 4}\ncompensate: {most_rank: 0.5, ridge: 0.25}\n");
  EXPECT_EQ(r.plan->budget, (Budget{Budget::Kind::Flops, 0.25}));
  EXPECT_EQ(r.search.evaluations, 9);
  EXPECT_EQ(r.search.minutes, 1.5);
  EXPECT_EQ(r.search.samples, 7);
  EXPECT_EQ(r.search.questions, 3);
  EXPECT_EQ(r.search.held_out, 0.5);
  EXPECT_EQ(r.search.max_new_tokens, 4);
  EXPECT_EQ(r.compensate->most_rank, 0.5);
  EXPECT_EQ(r.compensate->ridge, 0.25);
  EXPECT_EQ(parse_recipe(r.resolved(), "g").resolved(), r.resolved());
  EXPECT_NE(r.resolved().find("search: {evaluations: 9"), std::string::npos);
  EXPECT_FALSE(small("plan: {budget: 0.25}\ncompensate: none\n").compensate);
  EXPECT_TRUE(small("plan: {budget: 0.25}\n").compensate);
  EXPECT_EQ(small("plan: {window: {size: 3}}\n").resolved().find("search"), std::string::npos) << "as before budgets";
  EXPECT_USER_ERROR(small("plan: {budget: 0.25, heads: {keep: 4}}\n"), "plan.budget chooses everything");
  EXPECT_USER_ERROR(small("plan: {budget: 1.25}\n"), "budget");
}

TEST(Recipe, ABudgetOfAnotherKind) {
  const std::vector<std::pair<std::string, Budget>> known{{"{paper: 0.25}", {Budget::Kind::Paper, 0.25}},
                                                          {"{kv: 8MB}", {Budget::Kind::Kv, 8e6}},
                                                          {"{kv: 2KiB}", {Budget::Kind::Kv, 2048}},
                                                          {"{ms: 120.5}", {Budget::Kind::Time, 120.5}}};
  for (const auto& [text, budget] : known) {
    const Recipe r = small("plan: {budget: " + text + "}\n");
    EXPECT_EQ(r.plan->budget, budget) << text;
    EXPECT_EQ(parse_recipe(r.resolved(), "g").plan->budget, budget) << r.resolved();
  }
  const std::string kv = "plan: {budget: {kv: 8MB}}\n", share = "plan: {budget: 0.25}\n";
  EXPECT_EQ(small(share, {"plan.budget.kv=9MB"}).plan->budget, (Budget{Budget::Kind::Kv, 9e6}));
  EXPECT_EQ(small(kv, {"plan.budget.paper=0.5"}).plan->budget, (Budget{Budget::Kind::Paper, 0.5}));
  EXPECT_EQ(small(kv, {"plan.budget=0.5"}).plan->budget, (Budget{Budget::Kind::Flops, 0.5}));
  EXPECT_EQ(small(kv, {"plan.budget.ms=40"}).plan->budget, (Budget{Budget::Kind::Time, 40}));
  const Recipe timed = small("plan: {budget: {ms: 3}}\nsearch: {times: a table.json}\n");
  EXPECT_EQ(parse_recipe(timed.resolved(), "g").search.times, "a table.json");
  EXPECT_USER_ERROR(small("plan: {budget: {ms: 0}}\n"), "nothing can be met");
  EXPECT_USER_ERROR(small("plan: {budget: {kvs: 3}}\n"), "did you mean 'kv'?");
  EXPECT_USER_ERROR(small("plan: {budget: {kv: 8MX}}\n"), "expected a size such as 5GB");
  EXPECT_USER_ERROR(small("plan: {budget: {kv: 8MB, paper: 0.5}}\n"), "found 2 of them");
  EXPECT_USER_ERROR(small("plan: {budget: {paper: 1.5}}\n"), "paper");
  EXPECT_USER_ERROR(small("plan: {budget: {paper: 0}}\n"), "nothing can be met");
  EXPECT_USER_ERROR(small(kv + "export: {budgets: [0.5, 0.25]}\n"), "export.budgets are shares");
  EXPECT_USER_ERROR(small("search: {evaluation: 9}\n"), "did you mean 'evaluations'?");
  EXPECT_USER_ERROR(small("search: {held_out: 0.9}\n"), "held_out");
  EXPECT_USER_ERROR(small("compensate: {most_rank: 2}\n"), "most_rank");
}

TEST(Recipe, MissingKeys) {
  EXPECT_USER_ERROR(parse_recipe("", "f.yaml"), "f.yaml: 'model' is missing in the recipe");
  EXPECT_USER_ERROR(parse_recipe("output: o\n", "f.yaml"), "'model' is missing");
  EXPECT_USER_ERROR(parse_recipe("model: m\n", "f.yaml"), "f.yaml:1:1: 'output' is missing");
  EXPECT_USER_ERROR(parse_recipe("model: {dtype: fp32}\noutput: o\n", "f.yaml"),
                    "f.yaml:1:8: 'path' is missing in model");
  EXPECT_USER_ERROR(small("calibration: {queries: text}\n"), "'dataset' is missing in calibration");
  EXPECT_USER_ERROR(small("calibration: {dataset: {format: llava}}\n"),
                    "'questions' is missing in calibration.dataset");
  EXPECT_USER_ERROR(small("plan: {window: {causal: true}}\n"), "'size' is missing in plan.window");
  EXPECT_USER_ERROR(small("plan: {ffn: {score: rms}}\n"), "'keep' is missing in plan.ffn");
  EXPECT_USER_ERROR(small("evaluate: [{questions: q}]\n"), "'benchmark' is missing in evaluate.0");
  EXPECT_USER_ERROR(small("evaluate: [{benchmark: vqa}]\n"), "'questions' is missing in evaluate.0");
  EXPECT_NO_THROW(small("evaluate: [{benchmark: mme, images: d}]\n"));
}

TEST(Recipe, WrongValues) {
  EXPECT_USER_ERROR(parse_recipe("[a, b]", "f.yaml"), "f.yaml:1:1: a recipe should be a map");
  EXPECT_USER_ERROR(parse_recipe("model: [m]\noutput: o\n", "f.yaml"), "f.yaml:1:8: model should be a map");
  EXPECT_USER_ERROR(parse_recipe("model: {path: m, dtype: int8}\noutput: o", "f"), "dtype should be one of auto, fp32");
  EXPECT_USER_ERROR(small("device: cude\n"),
                    "f.yaml:3:9: device should be one of auto, cpu, cuda; found 'cude'; did you mean 'cuda'?");
  EXPECT_USER_ERROR(small("device: 'cuda:-1'\n"), "device should be one of auto, cpu, cuda; found 'cuda:-1'");
  EXPECT_EQ(small("device: cuda:1\n").device, "cuda:1");
  EXPECT_USER_ERROR(small("seed: -1\n"), "seed should be an integer");
  EXPECT_USER_ERROR(small("seed: 99999999999999999999\n"), "seed should be an integer");
  EXPECT_USER_ERROR(small("plan: {window: {size: 4}}\n"), "size should be odd");
  EXPECT_USER_ERROR(small("plan: {window: {size: 0}}\n"), "size should be an integer in [1,");
  EXPECT_USER_ERROR(small("plan: {window: {size: 3, causal: yes}}\n"), "causal should be true or false, found 'yes'");
  EXPECT_USER_ERROR(small("plan: {window: nine}\n"), "plan.window should be a map with size, causal, found 'nine'");
  EXPECT_USER_ERROR(small("plan: {heads: {keep: 1.5}}\n"),
                    "f.yaml:3:22: keep: a fraction should lie in [0, 1]; found '1.5'");
  EXPECT_USER_ERROR(small("plan: {heads: {keep: -1}}\n"), "a count should lie in");
  EXPECT_USER_ERROR(small("plan: {heads: {keep: .nan}}\n"), "expected a count (16) or a fraction (0.25); found '.nan'");
  EXPECT_USER_ERROR(small("plan: {heads: {keep: '1'}}\n"), "keep should be a number, found text");
  EXPECT_USER_ERROR(small("plan: {heads: {keep: 1, scope: modell}}\n"), "did you mean 'model'?");
  EXPECT_USER_ERROR(small("plan: {heads: {threshold: .inf}}\n"), "threshold should be a number");
  EXPECT_USER_ERROR(small("plan: {heads: {threshold: 0.1, vote: 1.2}}\n"), "vote should be a number in [0, 1]");
  EXPECT_USER_ERROR(small("plan: {ffn: {keep: 0.5, score: wandb}}\n"),
                    "score: expected one of mean_abs, rms, active, wanda; found 'wandb'; did you mean 'wanda'?");
  EXPECT_USER_ERROR(small("plan: {visual_layers: -1}\n"), "visual_layers: a count should lie in");
  EXPECT_USER_ERROR(small("plan: {visual_layers: 1.5}\n"), "visual_layers: a fraction should lie in [0, 1]");
  EXPECT_USER_ERROR(small("plan: {semantics: lava}\n"), "did you mean 'llava'?");
  EXPECT_USER_ERROR(small("calibration: {dataset: {questions: q, format: json}}\n"),
                    "format should be one of llava, conversations");
  EXPECT_USER_ERROR(small("calibration: {dataset: {questions: q}, queries: prefil}\n"), "did you mean 'prefill'?");
  EXPECT_USER_ERROR(small("export: {shard_size: 5 apples}\n"), "shard_size: expected a size");
  EXPECT_USER_ERROR(small("verify: {samples: 0}\n"), "samples should be an integer in [1,");
  EXPECT_USER_ERROR(small("evaluate: {benchmark: vqa}\n"), "evaluate should be a list");
  EXPECT_USER_ERROR(small("evaluate: [{benchmark: vqa3, questions: q}]\n"), "benchmark should be one of");
  const auto entry = [](const std::string& rest) {
    return small("evaluate: [{questions: q, benchmark: " + rest + "}]\n");
  };
  EXPECT_USER_ERROR(entry("vqa, batch_size: 0"), "batch_size should be an integer in [1,");
  EXPECT_USER_ERROR(entry("vqa, batch_size: 65537"), "batch_size should be an integer in [1, 65536]");
  EXPECT_USER_ERROR(entry("vqa, max_new_tokens: -1"), "max_new_tokens should be an integer in [0,");
  EXPECT_USER_ERROR(entry("vqa, samples: -1"), "samples should be an integer in [0,");
  EXPECT_USER_ERROR(entry("vqa, rule: letter"), "rule: benchmark vqa has none to choose");
  EXPECT_USER_ERROR(entry("mmbench, rule: leter"), "did you mean 'letter'?");
  EXPECT_USER_ERROR(small("calibration: {dataset: {questions: q, samples: -1}}\n"),
                    "samples should be an integer in [0,");
}

TEST(Recipe, OverridesComeBeforeTheChecks) {
  const Recipe r = parse_recipe(kDemo, "demo.yaml",
                                {"plan.window=none", "plan.heads.keep=4", "model.dtype=fp32", "seed=9",
                                 "evaluate.0.benchmark=pope", "evaluate.1={benchmark: gqa, questions: g}"});
  EXPECT_FALSE(r.plan->window);
  EXPECT_EQ(r.plan->heads->keep->value, 4);
  EXPECT_EQ(r.dtype, "fp32");
  EXPECT_EQ(r.seed, 9u);
  ASSERT_EQ(r.evaluate.size(), 2u);
  EXPECT_EQ(r.evaluate[0].benchmark, "pope");
  const EvaluateOptions rule =
      small("evaluate: [{benchmark: mmbench, questions: q, protocol: lmms, rule: letter}]\n").evaluate[0];
  EXPECT_EQ(rule.protocol, "lmms");
  EXPECT_EQ(rule.rule, "letter");
  EXPECT_USER_ERROR(small("evaluate: [{benchmark: gqa, questions: q, protocol: lmm}]\n"), "did you mean 'lmms'?");
  EXPECT_EQ(r.evaluate[1].dataset.questions, "g");
  EXPECT_USER_ERROR(small("", {"plan.wndow=3"}),
                    "--set plan.wndow=3: unknown key 'wndow' in plan; did you mean 'window'?");
  EXPECT_USER_ERROR(small("", {"plan.budget=x"}), "--set plan.budget=x: budget should be a number");
  EXPECT_USER_ERROR(small("", {"plan.window.size=x"}), "--set plan.window.size=x: size should be an integer");
  EXPECT_USER_ERROR(small("", {"seed"}), "expected KEY=VALUE");
}

TEST(Recipe, OverridesOfTheModel) {
  EXPECT_EQ(small("", {"model.dtype=fp32"}).model, "m") << "the short form keeps its path";
  EXPECT_EQ(small("", {"model.dtype=fp32", "model.path=n"}).model, "n");
  EXPECT_EQ(small("", {"model=n"}).model, "n");
  EXPECT_EQ(small("", {"model=n", "model.dtype=bf16"}).model, "n");
  EXPECT_FALSE(small("plan: {window: {size: 3}}\n", {"plan=null"}).plan) << "null removes a section";
  EXPECT_EQ(parse_recipe("", "f", {"model=m", "output=o"}).output, "o");
}

TEST(Recipe, ResolvedParsesBackToItself) {
  for (const std::string& text :
       {kDemo, kSmall,
        kSmall + "plan: {heads: {threshold: 0.035}, updates: {mask: \"a b\\\\c'd\\\"\"}, ffn: {keep: 0.1, score: "
                 "mean_abs}}\n",
        kSmall + "plan: {heads: {keep: 3, exempt_layers: 2}, semantics: qwen2_vl}\nevaluate: [{benchmark: mme, images: "
                 "'null'}]\n",
        kSmall + "evaluate: [{benchmark: mmbench, questions: q, protocol: lmms, rule: vlmevalkit}]\n",
        kSmall +
            "export: {shard_size: 512MiB, transformers_code: true}\nplan: {heads: {keep: 1e-7}, ffn: {keep: 1.0}}\n"}) {
    const std::string resolved = parse_recipe(text, "f").resolved();
    EXPECT_EQ(parse_recipe(resolved, "again").resolved(), resolved) << resolved;
  }
  EXPECT_EQ(small("").resolved(),
            "model: {path: \"m\", dtype: auto}\ndevice: auto\nseed: 0\noutput: \"o\"\n"
            "export: {shard_size: 5000000000}\nverify: {samples: 16}\n");
}

TEST(Recipe, ResolvedKeepsEveryField) {
  const Recipe a = parse_recipe(kDemo, "f"), b = parse_recipe(a.resolved(), "f");
  EXPECT_EQ(b.plan->updates->scope, Scope::Model);
  EXPECT_EQ(b.plan->heads->keep->fraction, true) << "1.0 must not come back as one head";
  EXPECT_EQ(b.calibration->queries, Queries::Text);
  EXPECT_EQ(b.evaluate[0].max_new_tokens, 8);
  EXPECT_EQ(b.evaluate[0].dataset.annotations, "a.json");
  EXPECT_EQ(b.evaluate[0].dataset.images, "images");
  EXPECT_EQ(b.evaluate[0].dataset.samples, 50);
  EXPECT_EQ(b.evaluate[0].batch_size, 4);
  EXPECT_EQ(b.calibration->dataset.images, "images");
  EXPECT_EQ(b.calibration->dataset.samples, 100);
  EXPECT_EQ(parse_recipe(small("evaluate: [{benchmark: mmbench, questions: q, rule: lmms}]\n").resolved(), "f")
                .evaluate[0]
                .rule,
            "lmms");
  EXPECT_EQ(b.seed, 7u);
}

TEST(Recipe, ReadsFiles) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "r.yaml", kDemo);
  EXPECT_EQ(read_recipe(folder / "r.yaml").file, folder / "r.yaml");
  EXPECT_EQ(read_recipe(folder / "r.yaml", {"seed=3"}).seed, 3u);
  EXPECT_USER_ERROR(read_recipe(folder / "none.yaml"), "none.yaml");
  testing::write_file(folder / "big.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_USER_ERROR(read_recipe(folder / "big.yaml"), "expected at most 1048576");
}

}  // namespace
}  // namespace yopo
