#include "evaluation/lmms_files.h"

#include <gtest/gtest.h>

#include "evaluation/reference.h"
#include "tests/evaluation/small_benchmarks.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::SmallBenchmarks;

const LmmsRun kRun{"20260131_235959", "out/pruned", 16};

std::vector<Json> lines_of(const fs::path& file) {
  std::vector<Json> lines;
  for (JsonLine& line : read_json_lines(file)) lines.push_back(std::move(line.value));
  return lines;
}

Json results_of(const SmallBenchmarks& files) { return read_json(files / "lmms/20260131_235959_results.json"); }

TEST(LmmsFiles, HoldEverySampleOfGqa) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.gqa();
  write_lmms_files(benchmark, SmallBenchmarks::in_order(benchmark, {"red.", "yes"}), kRun, files / "lmms");
  const std::vector<Json> lines = lines_of(files / "lmms/20260131_235959_samples_gqa.jsonl");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].at("doc_id"), 0);
  EXPECT_EQ(lines[1].at("doc_id"), 1);
  EXPECT_EQ(lines[0].at("target"), "red");
  EXPECT_EQ(lines[0].at("filtered_resps").dump(), R"(["red."])");
  EXPECT_EQ(lines[0].at("question_id"), "201");
  EXPECT_EQ(lines[0].at("input"), "t");
  EXPECT_EQ(lines[0].at("exact_match"), 1.0);
  EXPECT_EQ(lines[1].at("exact_match"), 0.0);
  EXPECT_EQ(lines[0].at("doc_hash").get<std::string>().size(), 32u);
  EXPECT_NE(lines[0].at("doc_hash"), lines[1].at("doc_hash"));

  const Json results = results_of(files);
  EXPECT_EQ(results.at("results").at("gqa").dump(),
            R"({"alias":"gqa","exact_match,none":0.5,"headline,none":0.5,"binary,none":0.0,"open,none":1.0})");
  EXPECT_EQ(results.at("n-samples").dump(), R"({"gqa":{"original":2,"effective":2}})");
  EXPECT_EQ(results.at("configs").at("gqa").dump(),
            R"({"task":"gqa","benchmark":"gqa","protocol":"llava","max_new_tokens":128})");
  EXPECT_EQ(results.at("config").dump(), R"({"model":"yopo","model_args":"out/pruned","batch_size":16})");
  EXPECT_EQ(results.at("date"), "20260131_235959");
}

TEST(LmmsFiles, AreTheSameBytesAgainAndKnowOtherAnswersByTheirHashes) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.gqa();
  const Answers answers = SmallBenchmarks::in_order(benchmark, {"red.", "yes"});
  write_lmms_files(benchmark, answers, kRun, files / "lmms");
  write_lmms_files(benchmark, answers, kRun, files / "again");
  for (const char* name : {"20260131_235959_samples_gqa.jsonl", "20260131_235959_results.json"})
    EXPECT_EQ(read_file(files / "lmms" / name), read_file(files / "again" / name)) << name;
  // The hashes are those of the questions, whatever was answered.
  write_lmms_files(benchmark, SmallBenchmarks::in_order(benchmark, {"blue", "no"}), kRun, files / "other");
  EXPECT_EQ(read_json(files / "other/20260131_235959_results.json").at("task_hashes"),
            results_of(files).at("task_hashes"));
}

TEST(LmmsFiles, ScorePopeOverAllSplits) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.pope({{"adversarial", "yyn"}, {"random", "yn"}}, "lmms");
  write_lmms_files(benchmark, SmallBenchmarks::in_order(benchmark, {"Yes", "no", "yes", " YES ", "none"}), kRun,
                   files / "lmms");
  const Json metrics = results_of(files).at("results").at("pope");
  // Three said yes, two of them rightly; one yes was missed; the last is neither.
  EXPECT_DOUBLE_EQ(metrics.at("pope_accuracy,none").get<double>(), 0.4);
  EXPECT_DOUBLE_EQ(metrics.at("pope_precision,none").get<double>(), 2 / 3.0);
  EXPECT_DOUBLE_EQ(metrics.at("pope_recall,none").get<double>(), 2 / 3.0);
  EXPECT_DOUBLE_EQ(metrics.at("pope_f1_score,none").get<double>(), 2 / 3.0);
  EXPECT_DOUBLE_EQ(metrics.at("pope_yes_ratio,none").get<double>(), 0.6);
  EXPECT_DOUBLE_EQ(metrics.at("headline,none").get<double>(), (0.5 + 1) / 2);
  const std::vector<Json> lines = lines_of(files / "lmms/20260131_235959_samples_pope.jsonl");
  EXPECT_EQ(lines[3].at("pope_accuracy").dump(),
            R"({"question_id":3,"score":1.0,"prediction":"yes","ground_truth":"yes"})");
  EXPECT_EQ(lines[4].at("pope_f1_score").dump(),
            R"({"question_id":4,"score":0.0,"prediction":"none","ground_truth":"no"})");

  const OpenBenchmark llava = files.pope({{"adversarial", "yyn"}, {"random", "yn"}});
  write_lmms_files(llava, SmallBenchmarks::in_order(llava, {"Yes", "no", "yes", "yes", "perhaps"}), kRun,
                   files / "lmms");
  EXPECT_DOUBLE_EQ(results_of(files).at("results").at("pope").at("pope_yes_ratio,none").get<double>(), 0.8);
}

TEST(LmmsFiles, TellPerceptionFromCognition) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.mme({{"count", 1}, {"code_reasoning", 1}});
  write_lmms_files(benchmark, SmallBenchmarks::in_order(benchmark, {"yes", "no", "yes", "yes"}), kRun, files / "lmms");
  const std::vector<Json> lines = lines_of(files / "lmms/20260131_235959_samples_mme.jsonl");
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0].at("mme_perception_score").at("category"), "count");
  EXPECT_EQ(lines[3].at("mme_cognition_score").at("score"), 0.0);
  EXPECT_FALSE(lines[3].contains("mme_perception_score"));
  const Json metrics = results_of(files).at("results").at("mme");
  EXPECT_EQ(metrics.at("mme_perception_score,none"), 200.0);
  EXPECT_EQ(metrics.at("mme_cognition_score,none"), 50.0);
}

TEST(LmmsFiles, WriteMmbenchInPercentAndNullsWithoutLabels) {
  SmallBenchmarks files;
  const OpenBenchmark labelled = files.mmbench();
  write_lmms_files(labelled, SmallBenchmarks::in_order(labelled, {"A", " B", "B", "B"}), kRun, files / "lmms");
  EXPECT_DOUBLE_EQ(results_of(files).at("results").at("mmbench_en_dev").at("gpt_eval_score,none").get<double>(),
                   200 / 3.0);
  EXPECT_EQ(results_of(files).at("configs").at("mmbench_en_dev").at("rule"), "letter");
  EXPECT_EQ(lines_of(files / "lmms/20260131_235959_samples_mmbench_en_dev.jsonl")[1].at("gpt_eval_score").dump(),
            R"({"index":2,"prediction":"B","answer":"B","category":"x","score":1.0})");

  const OpenBenchmark test = files.mmbench(false);
  write_lmms_files(test, SmallBenchmarks::in_order(test, {"A", "B", "B", "B"}), kRun, files / "lmms");
  EXPECT_TRUE(results_of(files).at("results").at("mmbench_en_test").at("gpt_eval_score,none").is_null());
  const Json line = lines_of(files / "lmms/20260131_235959_samples_mmbench_en_test.jsonl")[0];
  EXPECT_TRUE(line.at("gpt_eval_score").at("score").is_null());
  EXPECT_EQ(line.at("target"), "");
  const OpenBenchmark vqa = files.vqav2(true, true);
  write_lmms_files(vqa, SmallBenchmarks::in_order(vqa, {"yes", "3"}), kRun, files / "lmms");
  EXPECT_EQ(lines_of(files / "lmms/20260131_235959_samples_vqav2_val.jsonl")[1].at("target"),
            R"(["2","2","2","2","2","2","2","2","2","2"])");
}

TEST(LmmsFiles, RefuseADateThatIsNoFileName) {
  SmallBenchmarks files;
  const OpenBenchmark benchmark = files.gqa();
  const Answers answers = SmallBenchmarks::in_order(benchmark, {"red", "no"});
  for (const char* date : {"", "../x", "a/b", ".hidden", "10:00"})
    EXPECT_USER_ERROR(write_lmms_files(benchmark, answers, {date, "m", 1}, files / "lmms"),
                      "date: expected the files' prefix");
  EXPECT_FALSE(fs::exists(files / "lmms"));
}

TEST(Reference, KnowsThePublishedTables) {
  const std::vector<ReferenceScore> found = reference_scores("llava-1.5-7b", benchmark_named("pope"));
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].source, "LLaVA-1.5");
  EXPECT_DOUBLE_EQ(found[0].score, 0.859);
  EXPECT_DOUBLE_EQ(found[1].score, 0.873);
  EXPECT_EQ(found[2].setting, "YOPO 25 %");
  EXPECT_DOUBLE_EQ(found[3].score, 0.866);
  EXPECT_DOUBLE_EQ(reference_scores("llava-1.5-13b", benchmark_named("mme"))[3].score, 1426.2);
  EXPECT_DOUBLE_EQ(reference_scores("llava-1.5-13b", benchmark_named("vqav2"))[0].score, 0.8);
  EXPECT_DOUBLE_EQ(reference_scores("llava-1.5-7b", benchmark_named("mmbench"))[2].score, 0.655);
  EXPECT_TRUE(reference_scores("llava-1.5-7b", benchmark_named("vqa")).empty());
  EXPECT_USER_ERROR(reference_scores("llava-1.5-7", benchmark_named("gqa")),
                    "found 'llava-1.5-7'; did you mean 'llava-1.5-7b'?");
}

TEST(Reference, KnowsTheModelsByTheirSizes) {
  ModelSpec spec;
  spec.vision.image_size = 336;
  spec.vision.patch_size = 14;
  spec.vision.hidden_size = 1024;
  spec.text.hidden_size = 4096;
  spec.text.num_hidden_layers = spec.text.num_key_value_heads = 32;
  EXPECT_EQ(reference_model(spec), "llava-1.5-7b");
  spec.vision.image_size = 224;
  EXPECT_EQ(reference_model(spec), "");
  spec.vision.image_size = 336;
  spec.text.num_key_value_heads = 8;  // Mistral
  EXPECT_EQ(reference_model(spec), "");
  spec.text.hidden_size = 5120;
  spec.text.num_hidden_layers = spec.text.num_key_value_heads = 40;
  EXPECT_EQ(reference_model(spec), "llava-1.5-13b");
}

}  // namespace
}  // namespace yopo
