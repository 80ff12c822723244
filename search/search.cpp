#include "search/search.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/random.h"
#include "core/version.h"
#include "ranks/group.h"
#include "search/eliminate.h"
#include "search/knapsack.h"
#include "search/meter.h"

namespace yopo {
namespace {

bool better(const Found& a, const Found& b) { return a.verdict.loss < b.verdict.loss; }

void tell(const Menu& menu, const std::string& what, const Found& found) {
  const bool share = menu.kind() == Budget::Kind::Flops || menu.kind() == Budget::Kind::Paper;
  note(fmt::format(
      "search: {}: loss {:.4f}, KL {:.4f}, {:.1f} % of the answers as before, {} {}", what, found.verdict.loss,
      found.verdict.kl, 100 * found.verdict.same,
      share ? fmt::format("{:.1f} % of the", 100 * found.cost) : fmt::format("{:.5g}", menu.spent(found.cost)),
      what_is_spent(menu.kind())));
}

class Search {
 public:
  Search(PlanMeter& meter, const Statistics& statistics, const SearchRun& run, const DecoderSpec& spec)
      : meter_(meter),
        statistics_(statistics),
        run_(run),
        spec_(spec),
        reads_(ratio_scores(statistics)),
        updates_(reads_),
        budget_(meter.menu().share(run.budget)) {}
  SearchResult search();

 private:
  std::vector<Found> stages();
  Found chosen_of(std::vector<Found> stages, std::optional<Verdict>& held_out) const;
  Found best_so_far(bool& quick);
  const Menu& menu() const { return meter_.menu(); }
  void check_budget() const;
  std::vector<Choice> head_choices(int64_t depth) const;
  std::vector<Choice> uniform_choices() const;
  Found best_uniform();
  void rank_heads(Found& best);
  bool improve_by_prices(Found& best, size_t stride);
  std::optional<Choice> exchanged(const Choice& from, uint64_t number) const;
  bool improve_by_exchange(Found& best, uint64_t round);
  Plan filled(const Choice& choice) const;

  PlanMeter& meter_;
  const Statistics& statistics_;
  const SearchRun& run_;
  const DecoderSpec& spec_;
  HeadScores reads_, updates_;
  double budget_;  // what may be spent on visual tokens, as a share of what the dense model's cost
  int rankings_ = 0;
  std::vector<Group> given_up_;  // in which order, across layers; none where that was not measured
};

/// UserError for less than the least that a layer can do for visual tokens.
void Search::check_budget() const {
  double least = 1;
  for (int ladder = 0; ladder < ladder_count; ++ladder)
    for (int level = 1; level < menu().levels(Ladder(ladder)); ++level) {
      LayerChoice one;
      one.level[ladder] = level;
      if (const double cost = menu().cost(0, one); cost > 0) least = std::min(least, cost);
    }
  require(budget_ >= least,
          "plan.budget: {} cannot be met: the least that a layer can do for visual tokens costs {:.4g} {}",
          budget_text(run_.budget), menu().spent(least), what_is_spent(menu().kind()));
}

/// Heads to read in the first `depth` layers: the same share everywhere, then what was left at times when they were
/// given up one after the other.
std::vector<Choice> Search::head_choices(int64_t depth) const {
  const int top = menu().levels(Ladder::Heads) - 1;
  std::vector<Choice> choices;
  for (const int level : {top, (top * 3 + 2) / 4, (top + 2) / 4, 0}) {
    Choice& choice = choices.emplace_back(size_t(spec_.num_hidden_layers));
    for (int64_t l = 0; l < depth; ++l) choice[size_t(l)].at(Ladder::Heads) = level;
  }
  if (depth != spec_.num_hidden_layers) return choices;
  for (size_t left = given_up_.size(); left > given_up_.size() / 8; left = left * 7 / 8) {
    Choice& choice = choices.emplace_back(size_t(spec_.num_hidden_layers));
    std::vector<int64_t> heads(choice.size(), 0);
    for (size_t i = given_up_.size() - left; i < given_up_.size(); ++i)
      heads[size_t(given_up_[i].layer)] += spec_.group_size();
    for (size_t l = 0; l < choice.size(); ++l)
      while (menu().value(Ladder::Heads, choice[l].at(Ladder::Heads)) < heads[l]) ++choice[l].at(Ladder::Heads);
  }
  return choices;
}

/// The same for every layer up to some depth but for the heads, as far as the budget goes.
std::vector<Choice> Search::uniform_choices() const {
  const int64_t layers = spec_.num_hidden_layers;
  std::vector<Choice> choices;
  const int narrow = std::min(1, menu().levels(Ladder::Window) - 1);
  const auto some = [](int levels, int most) {  // from the first to the last level, evenly
    std::vector<int> chosen;
    for (int i = 0; i < std::min(levels, most); ++i)
      chosen.push_back(levels <= most ? i : i * (levels - 1) / (most - 1));
    return chosen;
  };
  for (const int64_t depth : {layers, layers - layers / 4})
    for (const int rank : some(menu().levels(Ladder::Rank), 4))
      for (const int updates : some(menu().levels(Ladder::Updates), 3))
        for (const Choice& heads : head_choices(depth)) {
          const auto with_neurons = [&](int neurons) {
            Choice choice = heads;
            for (int64_t l = 0; l < depth; ++l) {
              LayerChoice& layer = choice[size_t(l)];
              layer.at(Ladder::Updates) = updates;
              layer.at(Ladder::Window) = narrow;
              layer.at(Ladder::Rank) = rank;
              layer.at(Ladder::Neurons) = neurons;
              layer = menu().normal(layer);
            }
            return choice;
          };
          // More updates than heads are the choice of fewer updates.
          bool updated = updates == 0;
          for (const LayerChoice& layer : with_neurons(0)) updated |= layer.at(Ladder::Updates) == updates;
          if (!updated) continue;
          std::optional<Choice> fits;
          for (int neurons = menu().levels(Ladder::Neurons) - 1; neurons >= 0 && !fits; --neurons)
            if (Choice choice = with_neurons(neurons); menu().cost(choice) <= budget_) fits = std::move(choice);
          if (fits && menu().cost(*fits) > budget_ / 3) choices.push_back(*std::move(fits));
        }
  // Not more than half of what may be measured.
  const size_t most = size_t(std::max<int64_t>(1, meter_.remaining(meter_.quick()) / 2));
  if (choices.size() <= most) return choices;
  std::vector<Choice> fewer;
  for (size_t i = 0; i < most; ++i) fewer.push_back(choices[i * choices.size() / most]);
  return fewer;
}

Found Search::best_uniform() {
  std::vector<Choice> choices = uniform_choices();
  if (choices.empty()) choices.emplace_back(size_t(spec_.num_hidden_layers));
  std::vector<Found> found = meter_.measure(choices, meter_.quick());
  std::stable_sort(found.begin(), found.end(), better);
  choices.clear();
  for (size_t i = 0; i < std::min<size_t>(found.size(), 6); ++i) choices.push_back(found[i].choice);
  found = meter_.measure(choices);
  return *std::min_element(found.begin(), found.end(), better);
}

/// Orders heads by what it costs to take one alone from a plan near the budget, or by which is missed least when they
/// go one after the other, and starts again from there. Nothing where that is too much to measure.
void Search::rank_heads(Found& best) {
  const int64_t heads = spec_.num_attention_heads;
  Choice whole = best.choice;
  for (LayerChoice& layer : whole)
    if (!(layer == LayerChoice{})) layer.at(Ladder::Heads) = menu().levels(Ladder::Heads) - 1;
  Choice updated = whole;
  for (LayerChoice& layer : updated)
    if (!(layer == LayerChoice{})) layer.at(Ladder::Updates) = menu().levels(Ladder::Updates) - 1;
  const int64_t layers = visual_layers(menu().plan(whole));
  if (2 * heads * layers > meter_.remaining(meter_.quick()) / 2) return;
  const Plan read = meter_.fitted(whole), computed = meter_.fitted(updated);
  std::vector<std::pair<std::string, Plan>> plans;
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t head = 0; head < heads; ++head) {
      Plan without = read;
      without.layers[size_t(l)].heads[size_t(head)] = without.layers[size_t(l)].updates[size_t(head)] = 0;
      plans.emplace_back(fmt::format("without reading {}.{} of {}", l, head, choice_text(menu(), whole)), without);
      without = computed;
      without.layers[size_t(l)].updates[size_t(head)] = 0;
      plans.emplace_back(fmt::format("without updating {}.{} of {}", l, head, choice_text(menu(), updated)), without);
    }
  const std::vector<Verdict> verdicts = meter_.measure_plans(plans, meter_.quick());
  for (size_t i = 0; i < verdicts.size(); ++i)
    (i % 2 == 0 ? reads_ : updates_)[i / 2 / size_t(heads)][i / 2 % size_t(heads)] = verdicts[i].loss;
  const auto losses = [&](const std::vector<std::pair<std::string, Plan>>& without) {
    std::vector<double> found;
    for (const Verdict& verdict : meter_.measure_plans(without, meter_.quick())) found.push_back(verdict.loss);
    return found;
  };
  const std::vector<Group> order =
      elimination_order(read, spec_, losses, choice_text(menu(), whole), meter_.remaining(meter_.quick()) / 4);
  meter_.set_ranking(reads_, updates_, fmt::format("measured {}", ++rankings_));
  best = best_uniform();
  tell(menu(), "with heads in measured order", best);
  if (order.empty()) return;
  // The same heads as given up one after the other, if plans in that order are better.
  const HeadScores alone = reads_;
  for (size_t i = 0; i < order.size(); ++i)
    for (int64_t head = 0; head < spec_.group_size(); ++head)
      reads_[size_t(order[i].layer)][size_t(order[i].kv * spec_.group_size() + head)] += double(i);
  given_up_ = order;
  meter_.set_ranking(reads_, updates_, fmt::format("measured {}", ++rankings_));
  const Found in_turn = best_uniform();
  tell(menu(), "with heads given up in turn", in_turn);
  if (better(in_turn, best)) {
    best = in_turn;
    return;
  }
  reads_ = alone;
  given_up_.clear();
  meter_.set_ranking(reads_, updates_, fmt::format("measured {}", rankings_ - 1));
}

/// Prices one level up and down on every ladder of every layer and takes the best set of steps that fits.
bool Search::improve_by_prices(Found& best, size_t stride) {
  meter_.set_base(best.choice);
  struct Step {
    size_t layer;
    int ladder, by;
  };
  std::vector<Choice> neighbours;
  std::vector<Step> steps;
  for (size_t l = 0; l < best.choice.size(); ++l)
    for (int ladder = 0; ladder < ladder_count; ++ladder)
      for (const int by : {-1, 1}) {
        const int level = best.choice[l].level[ladder] + by;
        if (level < 0 || level >= menu().levels(Ladder(ladder))) continue;
        Choice next = best.choice;
        next[l].level[ladder] = level;
        next[l] = menu().normal(next[l]);
        if (next[l] == best.choice[l]) continue;
        neighbours.push_back(std::move(next));
        steps.push_back({l, ladder, by});
      }
  if (meter_.remaining(stride) < int64_t(neighbours.size())) return false;
  const std::vector<Found> found = meter_.measure(neighbours, stride);
  const double here = stride == 1 ? best.verdict.loss : meter_.measure({best.choice}, stride).front().verdict.loss;
  // One group for each ladder of each layer; the first option stays.
  std::vector<std::vector<KnapsackOption>> groups(best.choice.size() * ladder_count, {KnapsackOption{}});
  std::vector<std::vector<int>> moves(groups.size(), {0});
  for (size_t i = 0; i < found.size(); ++i) {
    const size_t group = steps[i].layer * ladder_count + size_t(steps[i].ladder);
    groups[group].push_back({found[i].cost - best.cost, found[i].verdict.loss - here});
    moves[group].push_back(steps[i].by);
  }
  // A step must be worth more and more, until those that are left hold what they promise together. Which toll is
  // right is not known: several are tried at once.
  std::vector<Choice> together;
  double toll = 0;
  for (int tries = 0; tries < 14; ++tries) {
    std::vector<std::vector<KnapsackOption>> tolled = groups;
    for (auto& options : tolled)
      for (size_t o = 1; o < options.size(); ++o) options[o].loss += toll;
    const auto picks = solve_knapsack(tolled, budget_ - best.cost);
    ensure(picks.has_value(), "to stay is always within the budget");
    Choice next = best.choice;
    for (size_t g = 0; g < picks->size(); ++g) next[g / ladder_count].level[g % ladder_count] += moves[g][(*picks)[g]];
    for (LayerChoice& layer : next) layer = menu().normal(layer);
    if (next == best.choice) break;
    toll = toll == 0 ? std::max(best.verdict.loss, 1e-4) * 2e-3 : toll * 2;
    if (menu().cost(next) <= budget_ && (together.empty() || !(together.back() == next))) together.push_back(next);
  }
  if (together.empty()) return false;
  const std::vector<Found> tried = meter_.measure(together);
  const Found& winner = *std::min_element(tried.begin(), tried.end(), better);
  if (!better(winner, best)) return false;
  best = winner;
  return true;
}

/// One or two levels up somewhere, paid for by levels down elsewhere, all at random. Nothing where it does not fit.
std::optional<Choice> Search::exchanged(const Choice& from, uint64_t number) const {
  uint64_t draw = 0;
  const auto below = [&](int64_t count) {
    return int64_t(uniform(run_.seed + 1, number * 4096 + draw++) * double(count));
  };
  Choice next = from;
  const int64_t layers = int64_t(next.size());
  for (int64_t ups = 1 + below(2); ups > 0; --ups) {
    LayerChoice& layer = next[size_t(below(layers))];
    const int ladder = int(below(ladder_count));
    layer.level[ladder] = std::min(layer.level[ladder] + 1 + int(below(2)), menu().levels(Ladder(ladder)) - 1);
    if (ladder == int(Ladder::Updates))
      while (menu().value(Ladder::Heads, layer.at(Ladder::Heads)) <
             menu().value(Ladder::Updates, layer.at(Ladder::Updates)))
        ++layer.at(Ladder::Heads);
  }
  for (int tries = 0; tries < 200 && menu().cost(next) > budget_; ++tries) {
    LayerChoice& layer = next[size_t(below(layers))];
    const int ladder = int(below(ladder_count));
    if (layer.level[ladder] > 0) --layer.level[ladder];
    layer = menu().normal(layer);
  }
  for (LayerChoice& layer : next) layer = menu().normal(layer);
  if (next == from || menu().cost(next) > budget_) return std::nullopt;
  return next;
}

/// Eight exchanges at once, first on few samples; the best that holds is taken.
bool Search::improve_by_exchange(Found& best, uint64_t round) {
  constexpr uint64_t together = 8;
  meter_.set_base(best.choice);
  std::vector<Choice> choices{best.choice};
  for (uint64_t i = 0; i < together; ++i)
    if (std::optional<Choice> next = exchanged(best.choice, round * together + i)) choices.push_back(*std::move(next));
  const std::vector<Found> quick = meter_.measure(choices, meter_.quick());
  const double limit = quick.front().verdict.loss * 1.01;
  choices.clear();
  for (size_t i = 1; i < quick.size(); ++i)
    if (quick[i].verdict.loss <= limit) choices.push_back(quick[i].choice);
  bool improved = false;
  for (const Found& found : meter_.measure(choices))
    if (better(found, best)) best = found, improved = true;
  return improved;
}

/// What the ladders' steps leave of the budget goes into neurons, a layer after the other.
Plan Search::filled(const Choice& choice) const {
  Plan plan = menu().plan(choice);
  for (int64_t l = 0; l < visual_layers(plan); ++l) {
    const double left = budget_ - menu().cost(plan);
    LayerPlan one = menu().layer_plan(l, choice[size_t(l)], 1);
    const double each = menu().cost(one) - menu().cost(plan.layers[size_t(l)]);
    if (each <= 0 || left < each) continue;
    // Many neurons come in numbers that products like; times do not grow evenly.
    const int64_t unit = spec_.intermediate_size >= 2048 ? 32 : 1;
    for (int64_t more = int64_t(left / each) / unit * unit; more > 0; more = more / 2 / unit * unit) {
      LayerPlan filled = menu().layer_plan(l, choice[size_t(l)], more);
      if (menu().cost(filled) - menu().cost(plan.layers[size_t(l)]) > left * (1 + 1e-9)) continue;
      plan.layers[size_t(l)] = std::move(filled);
      break;
    }
  }
  return plan;
}

/// The best plan of each step, each better than those before it.
std::vector<Found> Search::stages() {
  if (run_.ranking) meter_.set_ranking(*run_.ranking, "given");
  Found best = best_uniform();
  tell(menu(), "the best uniform plan", best);
  if (!run_.ranking) rank_heads(best);
  std::vector<Found> stages{best};
  int round = 0;
  for (const size_t stride : {meter_.coarse(), size_t(1)})
    while (improve_by_prices(best, stride)) {
      tell(menu(), fmt::format("after round {} of prices", ++round), best);
      stages.push_back(best);
    }
  constexpr int64_t least = 18;  // of a round of exchanges
  for (uint64_t round = 0; meter_.remaining() >= least; ++round)
    if (improve_by_exchange(best, round)) stages.push_back(best);
  meter_.finish();
  tell(menu(), "the end", best);
  return stages;
}

/// Of the last stages the one that the samples held out like best.
Found Search::chosen_of(std::vector<Found> stages, std::optional<Verdict>& held_out) const {
  constexpr size_t most = 12;
  if (stages.size() > most) stages.erase(stages.begin(), stages.end() - most);
  size_t chosen = stages.size() - 1;
  for (size_t i = 0; i < stages.size(); ++i) {
    const std::optional<Verdict> verdict = meter_.held_out(stages[i].choice);
    if (verdict && (!held_out || verdict->loss <= held_out->loss)) held_out = verdict, chosen = i;
  }
  return stages[chosen];
}

/// Where the journal ends before the search does.
Found Search::best_so_far(bool& quick) {
  const std::optional<BestSoFar> best = meter_.so_far();
  require(best.has_value(), "{}: no plan within the budget was measured yet", run_.journal.string());
  meter_.finish();
  meter_.set_ranking(best->ranking, "so far");
  quick = best->stride > 1;
  tell(menu(), fmt::format("the best of {:.0f} plans so far", meter_.evaluations()), best->found);
  return best->found;
}

SearchResult Search::search() {
  check_budget();
  SearchResult result;
  Found chosen;
  std::optional<Verdict> held_out;
  bool quick = false;
  try {
    const std::vector<Found> found = stages();
    if (!leads(run_.ranks)) {
      result.ranking = menu().ranking();
      return result;
    }
    chosen = chosen_of(found, held_out);
  } catch (const Unfinished&) {
    result.unfinished = true;
    chosen = best_so_far(quick);
  }
  std::vector<FitError> errors;
  result.plan = meter_.finished(filled(chosen.choice), errors);
  result.cost = menu().cost(result.plan);
  result.found = chosen.verdict;
  result.held_out = held_out.value_or(Verdict{});
  result.evaluations = meter_.evaluations();
  result.ranking = menu().ranking();
  Json& provenance = result.plan.provenance;
  provenance["tool"] = fmt::format("yopo {}", tool_version);
  provenance["statistics"] = statistics_.fingerprint;
  provenance["samples"] = statistics_.samples();
  provenance["queries"] = name_of(statistics_.queries);
  Json& summary = provenance["search"] = Json::object();
  summary["budget"] = budget_json(run_.budget);
  summary["visual_flops"] = menu().visual_flops(result.plan);
  if (menu().kind() != Budget::Kind::Flops) summary["spent"] = menu().spent(result.cost);
  summary["evaluations"] = std::round(result.evaluations);
  summary["loss"] = result.found.loss;
  summary["kl"] = result.found.kl;
  summary["same"] = result.found.same;
  if (result.unfinished) summary["unfinished"] = true;
  if (quick) summary["quick"] = true;
  if (held_out) {
    summary["held_out"] = Json::object();
    summary["held_out"]["loss"] = held_out->loss;
    summary["held_out"]["kl"] = held_out->kl;
    summary["held_out"]["same"] = held_out->same;
  }
  if (std::any_of(errors.begin(), errors.end(), [](const FitError& error) { return error.fitted; })) {
    // Rounded, so that the last digits of sums do not tell one machine from another.
    const auto rounded = [](double value) { return std::round(value * 1e5) / 1e5; };
    Json& layers = provenance["compensation"] = Json::array();
    for (const FitError& error : errors)
      layers.push_back(error.fitted ? Json::array({rounded(error.without), rounded(error.with)}) : Json());
  }
  return result;
}

}  // namespace

SearchResult search_plan(const OpenModel& model, const Statistics& statistics, const std::vector<Sample>& samples,
                         const SearchRun& run) {
  PlanMeter meter(model, statistics, samples, run);
  return Search(meter, statistics, run, model.spec.text).search();
}

}  // namespace yopo
