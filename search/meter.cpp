#include "search/meter.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <thread>

#include "core/error.h"
#include "search/neurons.h"

namespace yopo {
namespace {

/// The ranks that compensation may have: none, then shares of hidden_size that double.
std::vector<int64_t> rank_ladder(const DecoderSpec& spec, const std::optional<CompensateOptions>& compensate) {
  std::vector<int64_t> ranks{-1};
  if (!compensate) return ranks;
  const auto most = int64_t(compensate->most_rank * double(spec.hidden_size));
  std::vector<int64_t> positive;
  for (int64_t rank = most; rank >= 1 && positive.size() < 5; rank /= 2) positive.push_back(rank);
  if (positive.empty()) positive.push_back(0);
  ranks.insert(ranks.end(), positive.rbegin(), positive.rend());
  return ranks;
}

/// Whether a model's products are so small that threads are better spent on several plans at a time.
bool is_small(const OpenModel& model, const SearchRun& run) {
  constexpr double bytes = 2e8;
  return run.device == "cpu" && run.memory == 0 && weight_bytes(model.spec.text, 4) < bytes;
}

/// How many plans are measured at a time.
int64_t workers_for(const OpenModel& model, const SearchRun& run) {
  if (!is_small(model, run)) return 1;
  const auto threads = int64_t(run.threads > 0 ? run.threads : int(std::max(1u, std::thread::hardware_concurrency())));
  return std::clamp<int64_t>(threads, 1, 16);
}

runtime::Options options_of(const OpenModel& model, const SearchRun& run) {
  runtime::Options options;
  options.dtype = run.dtype;
  options.device = run.device;
  options.threads = is_small(model, run) ? 1 : run.threads;
  options.memory = run.memory;
  return options;
}

CostModel prices_of(const OpenModel& model, const SearchRun& run) {
  const DType type = runtime::computing_type(options_of(model, run), model.spec.dtype);
  return {run.budget.kind, int64_t(size_of(type)), run.times};
}

/// The last bits may depend on the machine's threads; what is decided by a loss must not.
Verdict rounded(Verdict verdict) {
  verdict.loss = std::round(verdict.loss * 1e6) / 1e6;
  return verdict;
}

}  // namespace

PlanMeter::PlanMeter(const OpenModel& model, const Statistics& statistics, const std::vector<Sample>& samples,
                     const SearchRun& run)
    : model_(model),
      statistics_(statistics),
      run_(run),
      spec_(model.spec.text),
      journal_(run.journal, run.fingerprint, run.so_far),
      progress_("search", run.search.evaluations, "plans") {
  const HeadScores ratios = ratio_scores(statistics);
  neurons_ = wanda_scores(statistics);
  set_ranking(ratios, ratios, "ratio");
  set_samples(samples);
  set_ranking(ratios, ratios, "ratio");
}

PlanMeter::~PlanMeter() = default;

void PlanMeter::set_ranking(const HeadScores& reads, const HeadScores& updates, const std::string& name) {
  set_ranking(rank(spec_, reads, updates, neurons_), name);
}

void PlanMeter::set_ranking(Ranking ranking, const std::string& name) {
  base_.reset();
  ranking_ = name;
  const std::vector<LayerOrder> orders = orders_of(ranking, spec_);
  engines_.clear();
  for (int64_t i = 0; i < workers_for(model_, run_); ++i)
    engines_.emplace_back(model_, dense_plan(spec_), orders, options_of(model_, run_));
  if (!shapes_.empty())
    menu_ = std::make_unique<Menu>(spec_, std::move(ranking), shapes_, rank_ladder(spec_, run_.compensate),
                                   prices_of(model_, run_));
}

void PlanMeter::set_samples(const std::vector<Sample>& samples) {
  const Processor processor(model_, run_.prompts);
  std::vector<JudgedSample> judged = judged_samples(
      engines_.front(), processor, recombined(samples, run_.search.questions), run_.search.max_new_tokens);
  require(!judged.empty(), "search: none of the {} samples has an image", samples.size());
  const int64_t pictures = judged.back().picture + 1;
  // Every n-th picture is held out, spread over all; too few leave none.
  const double share = run_.search.held_out;
  const auto is_held_out = [&](int64_t picture) {
    return std::floor(double(picture + 1) * share) > std::floor(double(picture) * share);
  };
  std::vector<JudgedSample> own, others;
  std::vector<ModelInput> fitted, all;
  int64_t last = -1;
  for (JudgedSample& sample : judged) {
    shapes_.push_back(shape_of(sample.input));
    shapes_.back().length -= sample.answer - 1;  // the prompt's
    const bool out = pictures >= 5 && is_held_out(sample.picture);
    if (sample.picture != last) {
      all.push_back(up_to_last_picture(sample.input, spec_.hidden_size));
      if (!out) fitted.push_back(all.back());
    }
    last = sample.picture;
    (out ? others : own).push_back(std::move(sample));
  }
  quick_ = std::max<size_t>(1, own.size() / 40);
  coarse_ = std::max<size_t>(1, own.size() / 120);
  judge_ = std::make_unique<Judge>(engines_.front(), std::move(own));
  if (!others.empty()) held_out_ = std::make_unique<Judge>(engines_.front(), std::move(others));
  if (run_.compensate) {
    const int64_t most_rows =
        std::max<int64_t>(1024, (int64_t(1) << 28) / (spec_.hidden_size * spec_.num_hidden_layers));
    neurons_ = unexplained_activations(model_, engines_.front(), fitted, statistics_.column_norm,
                                       run_.compensate->ridge, most_rows);
    compensator_ =
        std::make_unique<Compensator>(engines_.front(), std::move(fitted), run_.compensate->ridge, most_rows);
    final_compensator_ =
        std::make_unique<Compensator>(engines_.front(), std::move(all), run_.compensate->ridge, most_rows);
  }
}

void PlanMeter::count(const Task& task) {
  const double before = std::floor(evaluations_ + 1e-6);
  evaluations_ += 1 / double(task.stride);
  progress_.tick(int64_t(std::floor(evaluations_ + 1e-6) - before));
}

int64_t PlanMeter::remaining(size_t stride) const {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
  if (run_.search.minutes > 0 && seconds.count() > 60 * run_.search.minutes) return 0;
  return std::max<int64_t>(0, int64_t((double(run_.search.evaluations) - evaluations_) * double(stride)));
}

Plan PlanMeter::fitted(const Choice& choice) const {
  const Plan plan = menu_->plan(choice);
  return compensator_ ? compensator_->fit(engines_.front(), plan) : plan;
}

Plan PlanMeter::finished(const Plan& plan, std::vector<FitError>& errors) const {
  return final_compensator_ ? final_compensator_->fit(engines_.front(), plan, errors) : plan;
}

std::optional<Verdict> PlanMeter::held_out(const Choice& choice) const {
  if (!held_out_) return std::nullopt;
  return rounded(held_out_->judge(engines_.front().under(fitted(choice))));
}

void PlanMeter::set_base(const Choice& choice) {
  constexpr double most_bytes = 2e9;
  if (run_.so_far || (base_ && base_->choice == choice)) return;
  base_.reset();
  if (run_.device != "cpu" ||
      judge_->row_bytes(spec_, 1) + judge_->row_bytes(spec_, coarse_) + judge_->row_bytes(spec_, quick_) > most_bytes)
    return;
  const runtime::Engine& engine = engines_.front();
  Base base{choice, menu_->plan(choice), {}, {}};
  if (compensator_) base.plan = compensator_->fit(engine, base.plan, nullptr, 0, &base.fit);
  const runtime::Engine under = engine.under(base.plan);
  for (const size_t stride : {size_t(1), coarse_, quick_}) base.judge[stride] = judge_->rows_between(under, stride);
  base_ = std::move(base);
}

/// The first layer in which the task's choice is not the base's; 0 where nothing can be taken from that.
int64_t PlanMeter::first_change(const Task& task) const {
  if (!base_ || !task.choice || base_->judge.count(task.stride) == 0) return 0;
  int64_t layer = 0;
  while (layer + 1 < int64_t(task.choice->size()) && (*task.choice)[size_t(layer)] == base_->choice[size_t(layer)])
    ++layer;
  return layer;
}

Verdict PlanMeter::measure(const Task& task, const runtime::Engine& engine) const {
  const int64_t first = first_change(task);
  Plan plan = task.plan;
  for (int64_t l = 0; l < first; ++l) plan.layers[size_t(l)].compensation = base_->plan.layers[size_t(l)].compensation;
  if (task.choice && compensator_)
    plan = compensator_->fit(engine, plan, first > 0 ? &base_->fit : nullptr, first, nullptr);
  const std::vector<RowsBetween>* rows = first > 0 ? &base_->judge.at(task.stride) : nullptr;
  return rounded(judge_->judge(engine.under(plan, !task.choice), task.stride, rows, first));
}

std::vector<Verdict> PlanMeter::measure(const std::vector<Task>& tasks) {
  std::vector<Verdict> verdicts(tasks.size());
  std::vector<size_t> open, again;
  std::map<std::string, size_t> firsts;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (const Verdict* known = journal_.find(tasks[i].key)) {
      verdicts[i] = *known;
      count(tasks[i]);
    } else {
      (firsts.emplace(tasks[i].key, i).second ? open : again).push_back(i);
    }
  }
  if (run_.so_far && !open.empty()) throw Unfinished();
  std::mutex mutex;
  std::atomic<size_t> next = 0;
  std::exception_ptr failure;
  const auto work = [&](const runtime::Engine& engine) {
    try {
      for (size_t at = next++; at < open.size(); at = next++) {
        const Task& task = tasks[open[at]];
        const Verdict verdict = measure(task, engine);
        const std::lock_guard lock(mutex);
        verdicts[open[at]] = verdict;
        journal_.add(task.key, verdict);
        count(task);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = open.size();
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(engines_.size(), open.size()); ++i)
    threads.emplace_back(work, std::cref(engines_[i]));
  work(engines_.front());
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
  for (const size_t i : again) {
    verdicts[i] = verdicts[firsts.at(tasks[i].key)];
    count(tasks[i]);
  }
  return verdicts;
}

std::vector<Found> PlanMeter::measure(const std::vector<Choice>& choices, size_t stride) {
  std::vector<Found> found;
  for (const Choice& choice : choices) {
    Found& one = found.emplace_back();
    for (const LayerChoice& layer : choice) one.choice.push_back(menu_->normal(layer));
    one.cost = menu_->cost(one.choice);
  }
  std::vector<Task> tasks;
  for (const Found& one : found)
    tasks.push_back({fmt::format("{} /{} {}", ranking_, stride, choice_text(*menu_, one.choice)),
                     menu_->plan(one.choice), stride, &one.choice});
  if (run_.so_far)
    for (size_t i = 0; i < found.size(); ++i) note_known(found[i], tasks[i]);
  const std::vector<Verdict> verdicts = measure(tasks);
  for (size_t i = 0; i < found.size(); ++i) found[i].verdict = verdicts[i];
  return found;
}

void PlanMeter::note_known(const Found& found, const Task& task) {
  const Verdict* known = journal_.find(task.key);
  if (!known || found.cost > menu_->share(run_.budget)) return;
  const auto rank_of = [](size_t stride, double loss) { return std::pair(stride, loss); };
  if (so_far_ && rank_of(so_far_->stride, so_far_->found.verdict.loss) <= rank_of(task.stride, known->loss)) return;
  so_far_ = BestSoFar{{found.choice, found.cost, *known}, task.stride, menu_->ranking()};
}

std::vector<Verdict> PlanMeter::measure_plans(const std::vector<std::pair<std::string, Plan>>& plans, size_t stride) {
  std::vector<Task> tasks;
  for (const auto& [name, plan] : plans)
    tasks.push_back({fmt::format("{} /{} {}", ranking_, stride, name), plan, stride, nullptr});
  return measure(tasks);
}

}  // namespace yopo
