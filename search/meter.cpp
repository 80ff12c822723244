#include "search/meter.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <type_traits>

#include "core/error.h"
#include "ranks/deal.h"
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

/// Of the answers: the rows of their tokens are the model's embeddings, bit for bit.
std::string digest_of(const std::vector<JudgedSample>& samples, int64_t hidden_size) {
  Fingerprint digest;
  for (const JudgedSample& sample : samples) {
    const std::span<const float> rows(sample.input.embeds);
    digest.add(fmt::format("{} {} {}", sample.picture, sample.answer, sample.where));
    digest.add(std::as_bytes(rows.last(std::min(rows.size(), size_t((sample.answer - 1) * hidden_size)))));
  }
  return digest.hex();
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
      journal_(leads(run.ranks) ? run.journal : fs::path(), run.fingerprint, run.so_far),
      progress_("search", run.search.evaluations, "plans") {
  static_assert(std::is_trivially_copyable_v<Verdict>);
  if (run.ranks) {
    const std::string known = run.ranks->broadcast(run.ranks->leads() ? journal_.text() : "");
    if (!run.ranks->leads()) journal_.take_up(known);
  }
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
  if (run_.ranks)
    run_.ranks->agree(
        {{"the dense model's answers to the prompts of the search", digest_of(judged, spec_.hidden_size)}});
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
  bool over = run_.search.minutes > 0 && seconds.count() > 60 * run_.search.minutes;
  // Clocks differ: the others go by rank 0's.
  if (run_.search.minutes > 0 && run_.ranks) over = run_.ranks->broadcast(over ? "over" : "") == "over";
  if (over) return 0;
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

void PlanMeter::keep(const Task& task, const Verdict& verdict) {
  journal_.add(task.key, verdict);
  count(task);
}

/// Calls `step` with an engine of its own in each of up to `count` threads, until it has nothing left to do.
void PlanMeter::in_threads(size_t count, const std::function<bool(const runtime::Engine& engine)>& step) {
  std::mutex mutex;
  std::atomic<bool> stop = false;
  std::exception_ptr failure;
  const auto work = [&](const runtime::Engine& engine) {
    try {
      while (!stop && step(engine)) continue;
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      stop = true;
    }
  };
  std::vector<std::thread> threads;
  for (size_t i = 1; i < std::min(engines_.size(), count); ++i) threads.emplace_back(work, std::cref(engines_[i]));
  work(engines_.front());
  for (std::thread& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
}

void PlanMeter::measure_here(const std::vector<Task>& tasks, const std::vector<size_t>& open,
                             std::vector<Verdict>& verdicts) {
  std::mutex mutex;
  std::atomic<size_t> next = 0;
  in_threads(open.size(), [&](const runtime::Engine& engine) {
    const size_t at = next++;
    if (at >= open.size()) return false;
    const Task& task = tasks[open[at]];
    const Verdict verdict = measure(task, engine);
    const std::lock_guard lock(mutex);
    verdicts[open[at]] = verdict;
    keep(task, verdict);
    return true;
  });
}

/// The same, each plan by whichever rank is free. All come to the same tasks, for what they know of is the same; what
/// is measured goes from one to another bit for bit.
void PlanMeter::measure_with_others(const std::vector<Task>& tasks, const std::vector<size_t>& open,
                                    std::vector<Verdict>& verdicts) {
  if (open.empty()) return;
  Deal deal(*run_.ranks, open.size());
  std::mutex mutex;
  const auto see = [&](size_t at, const std::string& bytes) {
    ensure(bytes.size() == sizeof(Verdict), "a verdict");
    std::memcpy(&verdicts[open[at]], bytes.data(), sizeof(Verdict));
    keep(tasks[open[at]], verdicts[open[at]]);
  };
  in_threads(open.size(), [&](const runtime::Engine& engine) {
    const size_t at = deal.take();
    if (at >= deal.count()) return false;
    const Verdict verdict = measure(tasks[open[at]], engine);
    deal.give(at, std::string(reinterpret_cast<const char*>(&verdict), sizeof verdict));
    // Rank 0 writes the journal as results come in, so that little is lost when one of the ranks is killed.
    const std::lock_guard lock(mutex);
    if (run_.ranks->leads()) deal.look(see);
    return true;
  });
  deal.finish(see);
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
  if (run_.ranks)
    measure_with_others(tasks, open, verdicts);
  else
    measure_here(tasks, open, verdicts);
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
