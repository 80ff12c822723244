// The calibration loop: samples through the dense model, sums into stats.h5. Resumes after any kill with the same
// bytes.
#pragma once

#include "calibration/statistics.h"
#include "datasets/sample.h"
#include "models/prompt.h"
#include "models/spec.h"
#include "reference/engine.h"

namespace yopo {

struct CalibrationRun {
  std::string dtype = "auto";
  int threads = 0;
  int64_t memory = 0;  // see TorchOptions; the statistics do not depend on it
  uint64_t seed = 0;
  PromptOptions prompts;
  CalibrationOptions options;
  int64_t part = 0, parts = 1;  // this process's share of the samples: every parts-th, starting at part
};

/// The samples that a run measures, those of all its parts: with an image, chosen, in the order in which they are
/// summed. UserError where there are none.
std::vector<Sample> calibration_samples(const CalibrationRun& run);

/// Calibrates `model` and writes `output` (stats.h5). Progress is journalled in `output` + ".partial"; a journal of
/// other inputs is refused by fingerprint (UserError); a finished output with the same fingerprint is returned as it
/// is.
Statistics calibrate(const OpenModel& model, const CalibrationRun& run, const fs::path& output);

}  // namespace yopo
