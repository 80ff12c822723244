// A budget to a plan: ranks heads, starts from uniform plans, prices every single step around the best plan, solves for
// the best set of steps, and goes on with random exchanges; everything measured on the dense model's own answers.
#pragma once

#include <optional>
#include <string>

#include "calibration/statistics.h"
#include "models/prompt.h"
#include "search/judge.h"
#include "search/menu.h"
#include "search/options.h"
#include "search/samples.h"

namespace yopo {

class RankGroup;

struct SearchRun {
  Budget budget{Budget::Kind::Flops, 0.25};
  SearchOptions search;
  std::optional<CompensateOptions> compensate;  // absent: none
  uint64_t seed = 0;
  std::string dtype = "auto", device = "cpu";
  int threads = 0;
  int64_t memory = 0;
  PromptOptions prompts;
  std::shared_ptr<const TimeTable> times = {};  // for a budget of milliseconds
  fs::path journal;                             // what was measured; empty: nothing is kept
  std::string fingerprint;                      // of everything that the measurements depend on
  /// The order of heads and neurons of another budget's search, to stay in; absent: it is measured.
  std::optional<Ranking> ranking = {};
  /// Measure no plan: the best of those that the journal holds, in an unfinished search.
  bool so_far = false;
  /// With other ranks, which share the plans to be measured: rank 0 keeps the journal, and only its result is whole
  /// (of the others it is the ranking).
  RankGroup* ranks = nullptr;
};

struct SearchResult {
  Plan plan;
  double cost = 0;          // share of the dense model's visual cost, in what the budget counts
  Verdict found, held_out;  // of the plan, on the samples searched on and on the others
  double evaluations = 0;
  Ranking ranking;          // every layer's sets are prefixes of it
  bool unfinished = false;  // with so_far: there was more to measure
};

/// `samples`: calibration samples; those with images count. UserError for a budget that cannot be met (naming the
/// least), no samples, NaN from a sample (named), and with so_far a journal that is missing, of other inputs, or
/// without a plan that fits. Interrupted as everywhere; what was measured is in the journal.
SearchResult search_plan(const OpenModel& model, const Statistics& statistics, const std::vector<Sample>& samples,
                         const SearchRun& run);

}  // namespace yopo
