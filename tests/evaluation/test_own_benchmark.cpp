// A benchmark of a program's own: one file and one registration, and everything that works on benchmarks works on it
// (docs/adding-a-benchmark.md).
#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "core/error.h"
#include "evaluation/benchmarks/choose.h"
#include "evaluation/benchmarks/record_array.h"
#include "evaluation/benchmarks/registry.h"
#include "evaluation/evaluate.h"
#include "evaluation/flips.h"
#include "evaluation/lmms_files.h"
#include "evaluation/merge_answers.h"
#include "evaluation/reference.h"
#include "evaluation/submission.h"
#include "pipeline/recipe.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"
#include "text/unicode.h"

namespace yopo {
namespace {

using testing::close;
using testing::read_file;
using testing::TemporaryFolder;
using testing::write_file;

// The benchmark: "is there a ..." questions about pictures of digits, scored by picture.

struct Exists {
  std::vector<Sample> samples;
};

Exists read_exists(const BenchmarkSource& source) {
  Exists data;
  for (Sample& sample : read_samples(source.dataset)) {
    if (sample.category != "exist") continue;
    if (source.protocol.reworded) sample.text = "Look. " + sample.text;
    sample.text += source.protocol.request;
    data.samples.push_back(std::move(sample));
  }
  require(!data.samples.empty(), "{}: no question of category exist", source.dataset.questions.string());
  return data;
}

std::string picture_of(const Exists& data, size_t i) { return data.samples[i].images.at(0).filename().string(); }

/// Rule exact: the answer as expected; rule loose: whatever its case. A picture is right when all its questions are.
Score score_exists(const Exists& data, const Answers& answers, const std::string& rule) {
  Score score;
  std::map<std::string, std::pair<int64_t, bool>> pictures;  // number, all right
  for (size_t i = 0; i < data.samples.size(); ++i) {
    const std::string &said = answer_to(data.samples[i], answers), &expected = data.samples[i].answers.at(0);
    const bool right = rule == "loose" ? lower(said) == lower(expected) : said == expected;
    auto& [number, all] = pictures.try_emplace(picture_of(data, i), int64_t(pictures.size()), true).first->second;
    all = all && right;
    score.values.push_back(right ? 1 : 0);
    score.units.push_back(number);
    score.groups.push_back({"in all"});
  }
  for (const auto& [name, picture] : pictures) score.score += picture.second ? 1 : 0;
  score.count = int64_t(pictures.size());
  score.score = ratio(score.score, score.count);
  score.categories = {{"in all", score.score}};
  return score;
}

void open_exists(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_exists(source), source.dataset.samples, picture_of);
  into.samples = samples_of(data);
  into.score = [data, rule = into.rule](const Answers& answers) { return score_exists(*data, answers, rule); };
  into.submit = [data](const Answers& answers, const fs::path& target) {
    RecordArray file(target);
    for (const Sample& sample : data->samples) file.add(Json{{"id", sample.id}, {"said", answer_to(sample, answers)}});
    file.commit();
  };
}

const Benchmark& exists_benchmark() {
  static const Benchmark benchmark{
      .name = "digit-exists",
      .protocols = {{.max_new_tokens = 3, .request = ""}, {.name = "look", .max_new_tokens = 4, .reworded = true}},
      .rules = {"exact", "loose"},
      .headline = "pictures with every question right",
      .open = open_exists,
      .resampling = {.unit = "pictures"},
      .submission = Submission::File,
      .table_leaves_out = {"all"},
      .published = {{"llava-1.5-7b", "a paper", "dense", 62.5}}};
  return benchmark;
}

// The proof.

const fs::path kDemo = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid";

/// Known while a test runs.
class OwnBenchmark : public ::testing::Test {
  std::shared_ptr<const void> registered_ = register_benchmark(exists_benchmark());
};

EvaluateOptions exists_options(int64_t pictures) {
  EvaluateOptions options;
  options.benchmark = "digit-exists";
  options.dataset.questions = kDemo / "data/test/questions.jsonl";
  options.dataset.images = kDemo / "data/test/images";
  options.dataset.samples = pictures;
  options.batch_size = 5;
  return options;
}

TEST_F(OwnBenchmark, IsKnownWhereverNamesAre) {
  EXPECT_EQ(benchmark_names().back(), "digit-exists");
  EXPECT_EQ(&benchmark_named("digit-exists"), &exists_benchmark());
  EXPECT_USER_ERROR(benchmark_named("digit-exist"), "did you mean 'digit-exists'?");
  EXPECT_THROW(std::ignore = register_benchmark(exists_benchmark()), InternalError);
  EXPECT_EQ(default_benchmark(), benchmark_names().front());

  const auto recipe = [](const std::string& more) {
    return parse_recipe("model: m\noutput: o\nevaluate: [{benchmark: digit-exists" + more + "}]\n", "f.yaml");
  };
  EXPECT_EQ(recipe(", questions: q, protocol: look, rule: loose").evaluate[0].protocol, "look");
  EXPECT_USER_ERROR(recipe(", questions: q, protocol: lmms"), "protocol should be one of llava, look; found 'lmms'");
  EXPECT_USER_ERROR(recipe(", questions: q, rule: lose"), "did you mean 'loose'?");
  EXPECT_USER_ERROR(recipe(", images: i"), "'questions' is missing");
  EXPECT_FALSE(in_table(exists_benchmark(), "in all"));
  EXPECT_TRUE(in_table(exists_benchmark(), "other"));
}

TEST_F(OwnBenchmark, IsOpenedByProtocolAndRule) {
  EvaluateOptions options = exists_options(4);
  const OpenBenchmark plain = open_benchmark(options, true);
  EXPECT_EQ(plain.protocol, "llava");
  EXPECT_EQ(plain.rule, "exact");
  EXPECT_EQ(plain.max_new_tokens, 3);
  std::set<fs::path> pictures;
  for (const Sample& sample : *plain.samples) pictures.insert(sample.images.at(0));
  EXPECT_EQ(pictures.size(), 4u);
  options.protocol = "look";
  options.rule = "loose";
  const OpenBenchmark look = open_benchmark(options, true);
  EXPECT_EQ(look.rule, "loose");
  EXPECT_EQ(look.max_new_tokens, 4);
  EXPECT_EQ(look.samples->at(0).text, "Look. " + plain.samples->at(0).text + std::string(kShortAnswer));
  options.protocol = "lmms";
  EXPECT_USER_ERROR(open_benchmark(options, true), "benchmark digit-exists: protocol: expected one of llava, look");
}

TEST_F(OwnBenchmark, IsAskedScoredSubmittedAndCompared) {
  const TemporaryFolder folder;
  const OpenModel model = open_model(kDemo / "model");
  const runtime::Engine engine(model, dense_plan(model.spec.text), {});
  const Processor processor(model);
  const OpenBenchmark benchmark = open_benchmark(exists_options(12), true);
  const auto asked = [&](const std::string& name, const Shard& shard) {
    EvaluationRun run;
    run.options = exists_options(12);
    run.model = "demo";
    run.answers = folder / name;
    run.fingerprint = "abc";
    run.shard = shard;
    return evaluate(engine, processor, benchmark, run);
  };
  const EvaluationResult result = asked("all.jsonl", {});
  EXPECT_EQ(result.benchmark, "digit-exists");
  EXPECT_EQ(result.rule, "exact");
  EXPECT_EQ(result.count, 12);
  EXPECT_GT(result.score, 0.5);  // the demo's model sees nearly all digits
  EXPECT_DOUBLE_EQ(score_answers(benchmark, folder / "all.jsonl").score, result.score);

  // In parts, and as one again.
  EXPECT_FALSE(asked("1.jsonl", {1, 2}).scored);
  asked("2.jsonl", {2, 2});
  merge_answers({folder / "2.jsonl", folder / "1.jsonl"}, benchmark, folder / "merged.jsonl");
  EXPECT_EQ(read_file(folder / "merged.jsonl"), read_file(folder / "all.jsonl"));

  const Answers given = read_answers(folder / "all.jsonl", benchmark);
  write_submission(benchmark, given, folder / "out.json");
  const Json submitted = read_json(folder / "out.json");
  ASSERT_EQ(submitted.size(), benchmark.samples->size());
  EXPECT_EQ(submitted[0]["said"], given.text.at(submitted[0]["id"].get<std::string>()));

  write_lmms_files(benchmark, given, {"20260131_235959", "demo", 5}, folder.path());
  const Json metrics = read_json(folder / "20260131_235959_results.json")["results"]["digit-exists"];
  EXPECT_EQ(metrics["exact_match,none"], result.score);

  // A third of the pictures lost, by one of their questions each.
  Answers right{"right", {}};
  for (const Sample& sample : *benchmark.samples) right.text[sample.id] = sample.answers[0];
  Answers wrong = right;
  std::set<fs::path> lost;
  for (const Sample& sample : *benchmark.samples)
    if (lost.size() < 4 && lost.insert(sample.images[0]).second) wrong.text[sample.id] = "perhaps";
  const AnswerComparison compared = compare_answers(benchmark, right, wrong, {2000, 0});
  EXPECT_EQ(compared.unit, "pictures");
  EXPECT_EQ(compared.units, 12);
  EXPECT_EQ(compared.right_to_wrong.size(), 4u);
  const ComparedScore& score = compared.scores.back();
  EXPECT_TRUE(close(std::vector{score.before, score.after}, std::vector<double>{1, 8 / 12.0}, 1e-12));
  EXPECT_LT(score.low, -4 / 12.0);
  EXPECT_GT(score.high, -4 / 12.0);
  EXPECT_EQ(compared.scores[0].name, "in all");

  EXPECT_DOUBLE_EQ(reference_scores("llava-1.5-7b", exists_benchmark()).at(0).score, 0.625);
}

}  // namespace
}  // namespace yopo
