// The public headers over the demo model, in one process. From an install tree: tests/python/test_install.py.
#include <gtest/gtest.h>
#include <yopo/inspect.h>
#include <yopo/yopo.h>

#include <fstream>
#include <thread>

#include "core/version.h"
#include "models/prompt.h"
#include "plans/plan.h"
#include "runtime/engine.h"
#include "tests/support/temporary.h"

namespace {

namespace fs = std::filesystem;
using yopo::AnswerEnd;
using yopo::testing::TemporaryFolder;

const fs::path kExample = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid";
const fs::path kModel = kExample / "model", kImage = kExample / "data/test/images/0000.png";
const std::string kPrompt = "How many digits are there?";

/// What of our own says, without the public headers.
std::string expected_answer(const fs::path& image, const std::string& prompt) {
  const yopo::OpenModel model = yopo::open_model(kModel);
  const yopo::runtime::Engine engine(model, yopo::dense_plan(model.spec.text), {});
  const yopo::Processor processor(model);
  return processor.text_of(engine.generate({processor.prepare(prompt, {image}, "test")}, 128).at(0).tokens);
}

/// The message of the Error that `act` must throw.
template <typename Act>
std::string error_of(const Act& act) {
  try {
    act();
  } catch (const yopo::Error& error) {
    return error.what();
  }
  return "no Error";
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Library, AnswersAsTheEngineDoes) {
  yopo::Model model(kModel);
  EXPECT_EQ(model.family(), "llava");
  EXPECT_EQ(model.layers(), 11);
  EXPECT_FALSE(model.pruned());
  EXPECT_EQ(yopo::version(), yopo::tool_version);
  std::string heard;
  std::vector<std::int64_t> ids;
  const yopo::Answer answer = model.generate({kImage}, kPrompt, {}, [&](const yopo::AnswerToken& token) {
    heard += token.text;
    if (token.id >= 0) ids.push_back(token.id);
    return true;
  });
  EXPECT_EQ(answer.text, expected_answer(kImage, kPrompt));
  EXPECT_FALSE(answer.text.empty());
  EXPECT_EQ(heard, answer.text);
  EXPECT_EQ(ids, answer.tokens);
  EXPECT_EQ(answer.end, AnswerEnd::Finished);
  EXPECT_EQ(answer.visual_tokens, 81);
  EXPECT_GT(answer.prompt_tokens, 81);
  EXPECT_GT(answer.prefill_seconds, 0);
  EXPECT_EQ(model.generate({kImage}, kPrompt).text, answer.text);
  yopo::Model moved = std::move(model);
  EXPECT_EQ(moved.generate({kImage}, kPrompt).text, answer.text);
}

TEST(Library, AnswersEndWhereTheyAreTold) {
  yopo::Model model(kModel);
  yopo::AnswerOptions options;
  options.sampler.temperature = 60;  // nearly any token: a long answer
  options.max_new_tokens = 40;
  options.seed = 3;
  std::string shown;
  const yopo::Answer whole = model.generate({kImage}, kPrompt, options, [&](const yopo::AnswerToken& token) {
    shown += token.text;
    return true;
  });
  ASSERT_EQ(whole.end, AnswerEnd::Limit);
  EXPECT_EQ(whole.tokens.size(), 40u);
  ASSERT_GT(shown.size(), 40u);
  EXPECT_EQ(model.generate({kImage}, kPrompt, options).text, whole.text) << "the same seed";

  int calls = 0;
  const yopo::Answer ended =
      model.generate({kImage}, kPrompt, options, [&](const yopo::AnswerToken&) { return ++calls < 5; });
  EXPECT_EQ(ended.end, AnswerEnd::Callback);
  EXPECT_EQ(calls, 5) << "nothing is heard after it said no";
  EXPECT_EQ(ended.tokens, std::vector<std::int64_t>(whole.tokens.begin(), whole.tokens.begin() + 5));
  EXPECT_TRUE(shown.starts_with(ended.text));

  options.stop = {"never there", shown.substr(10, 3)};
  const size_t first = shown.find(options.stop[1]);
  std::string heard;
  const yopo::Answer stopped = model.generate({kImage}, kPrompt, options, [&](const yopo::AnswerToken& token) {
    heard += token.text;
    return true;
  });
  EXPECT_EQ(stopped.end, AnswerEnd::StopText);
  EXPECT_LT(stopped.tokens.size(), 40u);
  EXPECT_EQ(heard, shown.substr(0, first)) << "nothing of the stop text is heard";
  EXPECT_TRUE(heard.starts_with(stopped.text));

  options.seed = 4;
  EXPECT_NE(model.generate({kImage}, kPrompt, options).text, whole.text);
}

TEST(Library, ErrorsHaveThePublicNameAndCallbacksTheirOwn) {
  EXPECT_TRUE(holds(error_of([] { yopo::Model("no/such/folder"); }), "no/such/folder"));
  yopo::ModelOptions options;
  options.device = "tpu";
  EXPECT_TRUE(holds(error_of([&] { yopo::Model(kModel, options); }), "tpu"));
  options = {};
  options.plan = "plan.json";
  options.dense = true;
  EXPECT_TRUE(holds(error_of([&] { yopo::Model(kModel, options); }), "dense and plan"));
  yopo::Model model(kModel);
  EXPECT_TRUE(holds(error_of([&] { model.generate({"absent.png"}, kPrompt); }), "absent.png"));
  yopo::AnswerOptions answer;
  answer.sampler.top_p = 2;
  EXPECT_TRUE(holds(error_of([&] { model.generate({kImage}, kPrompt, answer); }), "top_p"));
  answer = {};
  answer.max_new_tokens = -1;
  EXPECT_TRUE(holds(error_of([&] { model.generate({kImage}, kPrompt, answer); }), "max_new_tokens"));
  // Even one of our own types is the caller's when the caller throws it.
  EXPECT_THROW(
      model.generate({kImage}, kPrompt, {}, [](const yopo::AnswerToken&) -> bool { throw yopo::UserError("mine"); }),
      yopo::UserError);
  EXPECT_EQ(model.generate({kImage}, kPrompt).end, AnswerEnd::Finished) << "the model lives on";
}

TEST(Library, SeveralThreadsMayAskOneModel) {
  yopo::Model model(kModel);
  std::vector<std::string> answers(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < answers.size(); ++i)
    threads.emplace_back([&, i] {
      const fs::path image = kExample / "data/test/images" / ("000" + std::to_string(i) + ".png");
      answers[i] = model.generate({image}, kPrompt).text;
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < answers.size(); ++i)
    EXPECT_EQ(answers[i],
              expected_answer(kExample / "data/test/images" / ("000" + std::to_string(i) + ".png"), kPrompt));
}

TEST(Library, CalibratesPlansAndExports) {
  const TemporaryFolder folder;
  std::vector<std::string> notes;
  std::vector<yopo::WorkReport> reports;
  yopo::set_listener({[&](const std::string& line) { notes.push_back(line); },
                      {},
                      [&](const yopo::WorkReport& report) { reports.push_back(report); }});
  yopo::CalibrateSettings calibration;
  calibration.model = kModel;
  calibration.questions = kExample / "data/calib/questions.jsonl";
  calibration.images = kExample / "data/calib/images";
  calibration.output = folder / "stats.h5";
  calibration.samples = 3;
  EXPECT_EQ(yopo::calibrate(calibration), 3);
  ASSERT_FALSE(reports.empty());
  EXPECT_TRUE(reports.back().finished);
  EXPECT_EQ(reports.back().done, 3);
  EXPECT_EQ(reports.back().unit, "samples");

  yopo::PlanSettings plan;
  plan.model = kModel;
  plan.output = folder / "plan.json";
  plan.keep = {"updates.keep=0.25", "ffn.keep=0.5", "window={size: 3, causal: true}", "visual_layers=9"};
  EXPECT_TRUE(holds(error_of([&] { yopo::plan(plan); }), "PlanSettings::statistics"));
  plan.statistics = calibration.output;
  EXPECT_TRUE(holds(yopo::plan(plan), "KV cache"));
  const yopo::Plan made = yopo::read_plan(plan.output);
  const std::optional<yopo::Window>& window = made.layers.at(0).window;
  EXPECT_TRUE(window && window->size == 3 && window->causal);
  EXPECT_EQ(visual_layers(made), 9);
  plan.keep.push_back("fnn.keep=1");
  EXPECT_TRUE(holds(error_of([&] { yopo::plan(plan); }), "did you mean 'ffn'"));

  yopo::export_pruned({kModel, plan.output, folder / "pruned"});
  yopo::export_pruned({kModel, plan.output, folder / "pruned"});
  ASSERT_FALSE(notes.empty());
  EXPECT_TRUE(holds(notes.back(), "already exported"));
  yopo::set_listener({});
  yopo::Model pruned(folder / "pruned");
  EXPECT_TRUE(pruned.pruned());
  yopo::ModelOptions options;
  options.plan = plan.output;
  yopo::Model planned(kModel, options);
  EXPECT_TRUE(planned.pruned());
  EXPECT_EQ(pruned.generate({kImage}, kPrompt).text, planned.generate({kImage}, kPrompt).text);
  options = {};
  options.dense = true;
  yopo::Model dense(folder / "pruned", options);
  EXPECT_FALSE(dense.pruned());
  EXPECT_EQ(dense.generate({kImage}, kPrompt).text, expected_answer(kImage, kPrompt));
}

std::string bytes_of_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

yopo::CalibrateSettings calibration_into(const fs::path& output, int64_t samples) {
  yopo::CalibrateSettings settings;
  settings.model = kModel;
  settings.questions = kExample / "data/calib/questions.jsonl";
  settings.images = kExample / "data/calib/images";
  settings.output = output;
  settings.samples = samples;
  return settings;
}

TEST(Library, StopsWhereItIsToldAndGoesOn) {
  const TemporaryFolder folder;
  yopo::set_listener({});
  yopo::calibrate(calibration_into(folder / "whole.h5", 12));
  yopo::CalibrateSettings calibration = calibration_into(folder / "stats.h5", 12);
  int asked = 0;
  calibration.stop = [&] { return fs::exists(folder / "stats.h5.partial") && ++asked > 3; };
  EXPECT_THROW(yopo::calibrate(calibration), yopo::Stopped);
  EXPECT_FALSE(fs::exists(calibration.output));
  calibration.stop = {};
  EXPECT_EQ(yopo::calibrate(calibration), 12);
  EXPECT_EQ(bytes_of_file(calibration.output), bytes_of_file(folder / "whole.h5"));
}

TEST(Library, SaysWhatIsInItsFiles) {
  const TemporaryFolder folder;
  const yopo::CalibrateSettings calibration = calibration_into(folder / "stats.h5", 2);
  yopo::calibrate(calibration);
  const yopo::StatisticsFile statistics(calibration.output);
  const size_t samples = 2, layers = size_t(statistics.layers()), heads = size_t(statistics.heads());
  ASSERT_EQ(statistics.ratio().size(), samples * layers * heads);
  EXPECT_EQ(statistics.ids().size(), samples);
  EXPECT_EQ(statistics.neuron_scores("rms").size(), statistics.column_norm().size());
  EXPECT_DOUBLE_EQ(statistics.mean_ratio().at(5), (statistics.ratio()[5] + statistics.ratio()[layers * heads + 5]) / 2);
  EXPECT_TRUE(holds(error_of([&] { statistics.neuron_scores("rmss"); }), "rms"));
  EXPECT_TRUE(holds(error_of([&] { yopo::StatisticsFile(folder / "absent.h5"); }), "absent.h5"));

  yopo::PlanSettings plan;
  plan.model = kModel;
  plan.output = folder / "plan.json";
  plan.keep = {"visual_layers=9"};
  const std::string text = yopo::plan(plan);
  EXPECT_EQ(yopo::plan_report_text(plan.output, kModel), text);
  EXPECT_TRUE(holds(yopo::plan_report(plan.output, kModel), "\"visual_layers\":9"));
  yopo::copy_plan(plan.output, folder / "copy.json");
  EXPECT_EQ(bytes_of_file(folder / "copy.json"), bytes_of_file(plan.output));
  plan.keep = {"budget=0.25"};
  EXPECT_TRUE(holds(error_of([&] { yopo::plan(plan); }), "search_plan"));
  EXPECT_EQ(yopo::parse_bytes("16GB"), 16'000'000'000);
}

}  // namespace
