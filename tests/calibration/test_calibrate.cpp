// The calibration loop on the demo model: same bytes whole, in parts and after a kill; refusal of other inputs.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <thread>

#include <gtest/gtest.h>
#include <unistd.h>

#include "calibration/calibrate.h"
#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "models/prompt.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::TemporaryFolder;

const fs::path demo = fs::path(YOPO_SOURCE_DIR) / "examples/digitgrid";

CalibrationRun demo_run(int64_t samples) {
  CalibrationRun run;
  run.threads = 1;
  run.options.dataset.questions = demo / "data/calib/questions.jsonl";
  run.options.dataset.images = demo / "data/calib/images";
  run.options.dataset.samples = samples;
  return run;
}

class Calibrate : public ::testing::Test {
 protected:
  Calibrate() { set_quiet(true); }
  TemporaryFolder folder;
  OpenModel model = open_model(demo / "model");
};

TEST_F(Calibrate, WritesWhatItReturnsAndReturnsWhatIsThere) {
  const fs::path output = folder / "new/stats.h5";
  const Statistics made = calibrate(model, demo_run(5), output);
  EXPECT_EQ(made.samples(), 5);
  EXPECT_EQ(made.layers, 11);
  EXPECT_EQ(made.rows, std::vector<int64_t>(11, int64_t(5) * 81));
  EXPECT_FALSE(fs::exists(output.string() + ".partial"));
  const Statistics read = read_statistics(output);
  EXPECT_EQ(read.ratio, made.ratio);
  EXPECT_EQ(read.abs_sum, made.abs_sum);
  EXPECT_EQ(read.column_norm, TorchEngine(model, {}).down_column_norms());
  EXPECT_TRUE(std::is_sorted(read.ids.begin(), read.ids.end(), id_less));

  const std::string bytes = read_file(output);
  const auto time = fs::last_write_time(output);
  EXPECT_EQ(calibrate(model, demo_run(5), output).ratio, made.ratio);
  EXPECT_EQ(read_file(output), bytes);
  EXPECT_EQ(fs::last_write_time(output), time);
}

TEST_F(Calibrate, SumsAreThoseOfTheSamples) {
  const CalibrationRun run = demo_run(3);
  const Statistics made = calibrate(model, run, folder / "stats.h5");
  const TorchEngine engine(model, {"auto", 1});
  const Processor processor(model);
  std::vector<double> abs_sum(made.abs_sum.size(), 0.0), ratio;
  for (const std::string& id : made.ids)
    for (const Sample& sample : read_samples(run.options.dataset)) {
      if (sample.id != id) continue;
      const SampleStatistics seen =
          engine.observe({processor.prepare(sample.text, sample.images, sample.where)}, false).at(0);
      for (size_t i = 0; i < abs_sum.size(); ++i) abs_sum[i] += on_grid(seen.abs_sum[i]);
      ratio.insert(ratio.end(), seen.ratio_prefill.begin(), seen.ratio_prefill.end());
    }
  EXPECT_EQ(made.abs_sum, abs_sum);
  EXPECT_EQ(made.ratio, ratio);
}

TEST_F(Calibrate, QueriesChooseTheRatio) {
  CalibrationRun run = demo_run(2);
  const Statistics prefill = calibrate(model, run, folder / "prefill.h5");
  run.options.queries = Queries::Text;
  const Statistics text = calibrate(model, run, folder / "text.h5");
  run.options.queries = Queries::Decode;
  const Statistics decode = calibrate(model, run, folder / "decode.h5");
  EXPECT_NE(prefill.ratio, text.ratio);
  EXPECT_NE(text.ratio, decode.ratio);
  EXPECT_EQ(decode.ratio.size(), prefill.ratio.size());
  EXPECT_EQ(prefill.abs_sum, decode.abs_sum);
}

TEST_F(Calibrate, PartsMergeToTheBytesOfTheWhole) {
  calibrate(model, demo_run(7), folder / "whole.h5");
  std::vector<Statistics> parts;
  CalibrationRun run = demo_run(7);
  run.parts = 3;
  for (run.part = 0; run.part < run.parts; ++run.part)
    parts.push_back(calibrate(model, run, folder / ("part" + std::to_string(run.part) + ".h5")));
  EXPECT_EQ(parts[0].samples(), 3);
  write_statistics(folder / "merged.h5", merge_statistics({parts[2], parts[0], parts[1]}));
  EXPECT_EQ(read_file(folder / "merged.h5"), read_file(folder / "whole.h5"));

  run.part = 1;
  EXPECT_USER_ERROR(calibrate(model, run, folder / "part0.h5"), "part 2 of 3");
  run.part = 3;
  EXPECT_USER_ERROR(calibrate(model, run, folder / "part3.h5"), "part 4 of 3");
  run = demo_run(2);
  run.parts = 3;
  run.part = 2;
  EXPECT_USER_ERROR(calibrate(model, run, folder / "none.h5"), "no sample");
}

// Death tests in a child process of its own, which runs the test again from its start: it finds the parent's output in
// the environment and, since it ends without destructors, makes no folder of its own.
struct SharedOutput {
  explicit SharedOutput(const char* name) : variable(name) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    set_quiet(true);
    if (std::getenv(variable) == nullptr) setenv(variable, (folder.emplace() / "stats.h5").c_str(), 1);
    output = std::getenv(variable);
    journal = output.string() + ".partial";
  }
  ~SharedOutput() { unsetenv(variable); }
  const char* variable;
  std::optional<TemporaryFolder> folder;
  fs::path output, journal;
};

// Kills this process as soon as the journal is there.
void kill_after_journal(const fs::path& journal) {
  std::thread([=] {
    while (!fs::exists(journal)) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(getpid(), SIGKILL);
  }).detach();
}

TEST(CalibrateDeathTest, KilledRunGoesOnAndEndsWithTheSameBytes) {
  const SharedOutput shared("YOPO_TEST_KILLED_OUTPUT");
  const fs::path &output = shared.output, &journal = shared.journal;
  const OpenModel model = open_model(demo / "model");
  constexpr int64_t samples = 60;
  EXPECT_EXIT(
      {
        kill_after_journal(journal);
        calibrate(model, demo_run(samples), output);
        _exit(0);
      },
      ::testing::KilledBySignal(SIGKILL), "");

  ASSERT_TRUE(fs::exists(journal));
  ASSERT_FALSE(fs::exists(output));
  const Statistics found = read_statistics(journal, true);
  EXPECT_GE(found.samples(), 1);
  EXPECT_LT(found.samples(), samples);
  // What a kill in the middle of a write leaves behind; no process has this number.
  const fs::path leftover = journal.string() + ".tmp-2147483646-0";
  testing::write_file(leftover, "half a file");

  // A run of other inputs is told what differs, and leaves the journal alone.
  const std::string before = read_file(journal);
  CalibrationRun other = demo_run(samples);
  other.options.queries = Queries::Text;
  EXPECT_USER_ERROR(calibrate(model, other, output), "options");
  other = demo_run(samples - 1);
  EXPECT_USER_ERROR(calibrate(model, other, output), "dataset");
  EXPECT_EQ(read_file(journal), before);

  calibrate(model, demo_run(samples), output);
  calibrate(model, demo_run(samples), *shared.folder / "whole.h5");
  EXPECT_EQ(read_file(output), read_file(*shared.folder / "whole.h5"));
  EXPECT_FALSE(fs::exists(journal));
  EXPECT_FALSE(fs::exists(leftover));
}

TEST_F(Calibrate, GoesOnFromTheJournalInsteadOfStartingOver) {
  // A journal whose sums were changed by hand shows in the result: it was taken up.
  const Statistics whole = calibrate(model, demo_run(4), folder / "whole.h5");
  Statistics journal = whole;
  journal.ids.resize(2);
  journal.ratio.resize(2 * size_t(whole.layers * whole.heads));
  journal.rows.assign(size_t(whole.layers), 1000000);
  write_statistics(folder / "stats.h5.partial", journal, true);
  EXPECT_EQ(calibrate(model, demo_run(4), folder / "stats.h5").rows[0], 1000000 + 2 * 81);

  journal.ids = {"x", "y"};
  write_statistics(folder / "b.h5.partial", journal, true);
  EXPECT_USER_ERROR(calibrate(model, demo_run(4), folder / "b.h5"), "other samples");
  testing::write_file(folder / "c.h5.partial", "damaged");
  EXPECT_USER_ERROR(calibrate(model, demo_run(4), folder / "c.h5"), "start over");
}

TEST(CalibrateDeathTest, InterruptedRunKeepsItsSamples) {
  const SharedOutput shared("YOPO_TEST_INTERRUPTED_OUTPUT");
  const OpenModel model = open_model(demo / "model");
  EXPECT_EXIT(
      {
        catch_interrupts();
        // Not by the clock: however busy the machine is, some samples are done and some are not.
        set_quiet(false);
        bool asked = false;  // once: a second signal ends the process
        set_progress_sink(ProgressSink{{}, {}, [&](const ProgressReport& report) {
                                         if (report.done < 4 || asked || !fs::exists(shared.journal)) return;
                                         asked = true;
                                         kill(getpid(), SIGINT);
                                         while (!interrupted()) std::this_thread::yield();
                                       }});
        try {
          calibrate(model, demo_run(200), shared.output);
          _exit(0);
        } catch (const Interrupted&) {
          _exit(42);
        }
      },
      ::testing::ExitedWithCode(42), "");
  ASSERT_TRUE(fs::exists(shared.journal));
  ASSERT_FALSE(fs::exists(shared.output));
  // The first sample was journalled at once; those after it only because of the interrupt.
  EXPECT_GT(read_statistics(shared.journal, true).samples(), 1);
}

TEST_F(Calibrate, OtherInputsThanThoseOfTheOutputAreRefused) {
  const fs::path output = folder / "stats.h5";
  calibrate(model, demo_run(3), output);
  const std::string bytes = read_file(output);
  CalibrationRun other = demo_run(3);
  other.options.queries = Queries::Decode;
  EXPECT_USER_ERROR(calibrate(model, other, output),
                    "options (there: queries prefill, fp32; now: queries decode, fp32) changed");
  other = demo_run(3);
  other.dtype = "bf16";
  EXPECT_USER_ERROR(calibrate(model, other, output), "options");
  other = demo_run(3);
  other.seed = 5;
  EXPECT_USER_ERROR(calibrate(model, other, output), "dataset");
  EXPECT_EQ(read_file(output), bytes);

  fs::copy(demo / "model", folder / "model");
  std::string weights = read_file(folder / "model/model.safetensors");
  weights.back() ^= 1;
  testing::write_file(folder / "model/model.safetensors", weights);
  const OpenModel changed = open_model(folder / "model");
  EXPECT_USER_ERROR(calibrate(changed, demo_run(3), output), "checkpoint");
  EXPECT_USER_ERROR(calibrate(changed, demo_run(3), output), "choose another output");
}

TEST_F(Calibrate, DamagedWeightsNameTheSample) {
  fs::copy(demo / "model", folder / "model");
  std::string weights = read_file(folder / "model/model.safetensors");
  const Checkpoint checkpoint = Checkpoint::open(demo / "model");
  const TensorView& view = checkpoint.at("language_model.model.layers.3.mlp.up_proj.weight");
  const size_t at = size_t(view.bytes.data() - view.file->bytes().data());
  ASSERT_EQ(view.dtype, DType::F16);
  weights[at] = char(0x00);
  weights[at + 1] = char(0x7e);  // NaN
  testing::write_file(folder / "model/model.safetensors", weights);
  const OpenModel damaged = open_model(folder / "model");
  EXPECT_USER_ERROR(calibrate(damaged, demo_run(3), folder / "stats.h5"), "nan");
  EXPECT_USER_ERROR(calibrate(damaged, demo_run(3), folder / "stats.h5"), "questions.jsonl:");
  EXPECT_FALSE(fs::exists(folder / "stats.h5"));
}

/// LLaVA-derived sets have several samples under one id.
TEST_F(Calibrate, SamplesOfOneIdAreTold) {
  std::string lines;
  for (int i = 0; i < 6; ++i)
    lines += fmt::format(R"({{"question_id": "{}", "image": "000{}.png", "text": "How many digits are there?"}})"
                         "\n",
                         i == 2 ? "b" : "a", i);
  testing::write_file(folder / "q.jsonl", lines);
  CalibrationRun run = demo_run(0);
  run.options.dataset.questions = folder / "q.jsonl";
  const Statistics whole = calibrate(model, run, folder / "whole.h5");
  EXPECT_EQ(whole.ids, (std::vector<std::string>{"a", "a", "a", "a", "a", "b"}));
  EXPECT_EQ(whole.repeats, (std::vector<int64_t>{1, 2, 3, 4, 5, 1}));
  const auto width = std::ptrdiff_t(whole.layers * whole.heads);
  EXPECT_FALSE(std::equal(whole.ratio.begin(), whole.ratio.begin() + width, whole.ratio.begin() + width));

  std::vector<Statistics> parts;
  run.parts = 4;
  for (run.part = 0; run.part < run.parts; ++run.part)
    parts.push_back(calibrate(model, run, folder / ("part" + std::to_string(run.part) + ".h5")));
  write_statistics(folder / "merged.h5", merge_statistics({parts[3], parts[1], parts[0], parts[2]}));
  EXPECT_EQ(read_file(folder / "merged.h5"), read_file(folder / "whole.h5"));

  // A journal is of the whole's first samples, not of any two with their ids.
  run.parts = 1, run.part = 0;
  Statistics begun = whole;
  begun.ids.resize(2), begun.repeats.resize(2), begun.ratio.resize(size_t(2 * width));
  write_statistics(folder / "again.h5.partial", begun, true);
  const Statistics again = calibrate(model, run, folder / "again.h5");
  EXPECT_EQ(again.repeats, whole.repeats);
  EXPECT_EQ(again.ratio, whole.ratio);
  begun.repeats = {1, 5};
  write_statistics(folder / "other.h5.partial", begun, true);
  EXPECT_USER_ERROR(calibrate(model, run, folder / "other.h5"), "holds other samples");
  EXPECT_EQ(calibrate(model, run, folder / "whole.h5").repeats, whole.repeats);
}

TEST_F(Calibrate, SamplesWithoutAnImageAreLeftOut) {
  CalibrationRun run = demo_run(0);
  run.options.dataset.questions = folder / "q.jsonl";
  testing::write_file(folder / "q.jsonl",
                      "{\"question_id\": 1, \"image\": \"0000.png\", \"text\": \"How many digits are there?\"}\n"
                      "{\"question_id\": 2, \"text\": \"How many digits are there?\"}\n"
                      "{\"question_id\": \"b\", \"image\": \"0001.png\", \"text\": \"How many digits are there?\"}\n");
  EXPECT_EQ(calibrate(model, run, folder / "stats.h5").ids, (std::vector<std::string>{"1", "b"}));
  testing::write_file(folder / "q.jsonl", "{\"question_id\": 2, \"text\": \"How many digits are there?\"}\n");
  EXPECT_USER_ERROR(calibrate(model, run, folder / "none.h5"), "none of the 1 samples has an image");
}

}  // namespace
}  // namespace yopo
