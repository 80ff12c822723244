// Measures plans by the dense model's own answers, several at a time, and remembers what it has measured.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calibration/statistics.h"
#include "core/progress.h"
#include "search/compensate.h"
#include "search/journal.h"
#include "search/judge.h"
#include "search/menu.h"
#include "search/ranking.h"
#include "search/search.h"

namespace yopo {

/// A choice that was measured.
struct Found {
  Choice choice;
  double cost = 0;
  Verdict verdict;
};

/// A plan is to be measured that the journal does not hold (SearchRun::so_far).
struct Unfinished {};

/// The best plan that the journal holds: of those measured on the most samples, the one with the least loss.
struct BestSoFar {
  Found found;
  size_t stride = 1;  // measured on every n-th sample
  Ranking ranking;
};

/// The dense model, its answers, and the plans that are held against them. For one thread.
class PlanMeter {
 public:
  /// UserError as search_plan.
  PlanMeter(const OpenModel& model, const Statistics& statistics, const std::vector<Sample>& samples,
            const SearchRun& run);
  ~PlanMeter();

  const Menu& menu() const { return *menu_; }
  /// In which order heads are given up from now on; `name` tells one ranking from another.
  void set_ranking(const HeadScores& reads, const HeadScores& updates, const std::string& name);
  /// The same, neurons included.
  void set_ranking(Ranking ranking, const std::string& name);

  /// Every quick()-th sample, for a first look, and every coarse()-th, for a second.
  size_t quick() const { return quick_; }
  size_t coarse() const { return coarse_; }
  /// Throws Unfinished.
  std::vector<Found> measure(const std::vector<Choice>& choices, size_t stride = 1);
  /// Plans with their vectors as they are, on every `stride`-th sample. Each has a name of its own. Throws Unfinished.
  std::vector<Verdict> measure_plans(const std::vector<std::pair<std::string, Plan>>& plans, size_t stride);
  /// What is measured next are changes of this choice: layers before the first change are not computed again.
  void set_base(const Choice& choice);
  /// The choice's plan with its compensation fitted to the pictures searched on.
  Plan fitted(const Choice& choice) const;
  /// A plan with its compensation fitted to all pictures, and what that leaves; no errors where nothing is fitted.
  Plan finished(const Plan& plan, std::vector<FitError>& errors) const;
  /// On the samples that are held out; nothing where there are none.
  std::optional<Verdict> held_out(const Choice& choice) const;

  /// Plans measured so far; on every n-th sample one counts as the n-th part.
  double evaluations() const { return evaluations_; }
  /// How many more may be measured, on every `stride`-th sample; 0 once the time is over.
  int64_t remaining(size_t stride = 1) const;
  void finish() { progress_.finish(); }
  /// Within the budget, among the choices measured; kept with SearchRun::so_far alone.
  const std::optional<BestSoFar>& so_far() const { return so_far_; }

 private:
  struct Task {
    std::string key;
    Plan plan;
    size_t stride = 1;
    const Choice* choice = nullptr;  // which the plan is of, its compensation to be fitted; null: measured as it is
  };
  struct Base {
    Choice choice;
    Plan plan;
    RowsBetween fit;
    std::map<size_t, std::vector<RowsBetween>> judge;  // by stride
  };
  void set_samples(const std::vector<Sample>& samples);
  int64_t first_change(const Task& task) const;
  Verdict measure(const Task& task, const runtime::Engine& engine) const;
  std::vector<Verdict> measure(const std::vector<Task>& tasks);
  void count(const Task& task);
  void measure_here(const std::vector<Task>& tasks, const std::vector<size_t>& open, std::vector<Verdict>& verdicts);
  void measure_with_others(const std::vector<Task>& tasks, const std::vector<size_t>& open,
                           std::vector<Verdict>& verdicts);
  void in_threads(size_t count, const std::function<bool(const runtime::Engine& engine)>& step);
  void keep(const Task& task, const Verdict& verdict);
  void note_known(const Found& found, const Task& task);

  const OpenModel& model_;
  const Statistics& statistics_;
  const SearchRun& run_;
  const DecoderSpec& spec_;
  SearchJournal journal_;  // rank 0's is that of all
  std::string ranking_;
  HeadScores neurons_;
  std::vector<PromptShape> shapes_;
  std::unique_ptr<Menu> menu_;
  /// Dense, in the ranking's order: one for each plan that is measured at a time. Where there are several, each
  /// computes in one thread, so what it measures does not depend on how many there are.
  std::vector<runtime::Engine> engines_;
  std::unique_ptr<Judge> judge_, held_out_;
  std::unique_ptr<Compensator> compensator_, final_compensator_;
  std::optional<Base> base_;
  std::optional<BestSoFar> so_far_;
  size_t quick_ = 1, coarse_ = 1;
  double evaluations_ = 0;
  Progress progress_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace yopo
