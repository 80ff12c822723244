#include "evaluation/flips.h"

#include <algorithm>
#include <cmath>

#include "core/progress.h"

namespace yopo {

namespace {

constexpr double kConfidence = 0.95;
constexpr double kRightScore = 0.5;  // a soft accuracy from here on is right

const std::string& text_of(const Sample& sample, const Answers& answers) {
  static const std::string none;
  const auto found = answers.text.find(question_key(sample));
  return found == answers.text.end() ? none : found->second;
}

ScoreSums sums_of(const OpenBenchmark& benchmark, const Answers& answers, const Score& score) {
  const auto own = benchmark.benchmark->resampling.sums;
  return own != nullptr ? own(benchmark, answers, score) : mean_sums(score);
}

/// The scores of one side's sums, from `first` on among all.
SummedScores scores_of(const ScoreSums& side, const std::vector<double>& sums, size_t first) {
  ensure(first + side.size <= sums.size() && side.beside.size() == side.size, "fewer sums than the scores need");
  std::vector<double> own(side.size);
  for (size_t i = 0; i < side.size; ++i) own[i] = sums[first + i] + side.beside[i];
  return side.scores(own.data());
}

/// The scored samples of each unit, in the order of their first samples.
std::vector<std::vector<size_t>> units_of(const Score& before, const Score& after) {
  std::vector<std::vector<size_t>> units;
  std::map<int64_t, size_t> known;
  for (size_t i = 0; i < before.values.size(); ++i) {
    if (std::isnan(before.values[i]) || std::isnan(after.values[i])) continue;
    const int64_t number = before.units.empty() ? int64_t(i) : before.units[i];
    const auto [unit, fresh] = known.emplace(number, units.size());
    if (fresh) units.emplace_back();
    units[unit->second].push_back(i);
  }
  return units;
}

/// Both sides' scores by name, `score` the headline; a category that only one side has is 0 on the other.
std::vector<ComparedScore> pair_up(const SummedScores& before, const SummedScores& after) {
  std::map<std::string, ComparedScore> named;
  for (const auto& [name, value] : before.categories) named[name].before = value;
  for (const auto& [name, value] : after.categories) named[name].after = value;
  std::vector<ComparedScore> scores;
  for (auto& [name, one] : named) {
    one.name = name;
    scores.push_back(one);
  }
  scores.push_back({"score", before.score, after.score, 0, 0});
  return scores;
}

/// That the sums give what the metric gave: else an interval would belong to another score.
void check_sums(const SummedScores& summed, const Score& score) {
  const auto same = [](double a, double b) { return std::abs(a - b) <= 1e-9 * std::max(1.0, std::abs(b)); };
  ensure(same(summed.score, score.score), "the sums give another score than the metric");
  for (const auto& [name, value] : score.categories) {
    const auto found = summed.categories.find(name);
    ensure(found != summed.categories.end() && same(found->second, value),
           "the sums give other categories than the metric");
  }
}

void add_intervals(AnswerComparison& result, const ResampledUnits& units, const ScoreSums& before,
                   const ScoreSums& after) {
  std::vector<std::vector<double>> differences(result.scores.size());
  Progress progress("comparing", result.resamples, "resamples");
  for (int64_t r = 0; r < result.resamples; ++r) {
    const std::vector<double> sums = units.resample(result.seed, uint64_t(r));
    const auto drawn = pair_up(scores_of(before, sums, 0), scores_of(after, sums, before.size));
    for (size_t s = 0; s < drawn.size(); ++s) differences[s].push_back(drawn[s].difference());
    progress.tick();
  }
  progress.finish();
  for (size_t s = 0; s < differences.size(); ++s) {
    std::sort(differences[s].begin(), differences[s].end());
    result.scores[s].low = percentile(differences[s], (1 - kConfidence) / 2);
    result.scores[s].high = percentile(differences[s], (1 + kConfidence) / 2);
  }
}

void add_flips(AnswerComparison& result, const OpenBenchmark& benchmark, const Answers& before, const Answers& after,
               const Score& old_score, const Score& new_score) {
  for (size_t i = 0; i < benchmark.samples->size(); ++i) {
    const Sample& sample = (*benchmark.samples)[i];
    const std::string &old_text = text_of(sample, before), &new_text = text_of(sample, after);
    result.changed += old_text == new_text ? 0 : 1;
    if (std::isnan(old_score.values[i]) || std::isnan(new_score.values[i])) continue;
    ++result.questions;
    const bool was = old_score.values[i] >= kRightScore, is = new_score.values[i] >= kRightScore;
    if (was == is) continue;
    Flip flip{sample.id, sample.integer_id, "", old_text, new_text, i};
    if (!sample.key.empty()) flip.question = sample.prompt.value_or(sample.text);
    (was ? result.right_to_wrong : result.wrong_to_right).push_back(std::move(flip));
  }
}

Json flips_to_json(const std::vector<Flip>& flips) {
  Json list = Json::array();
  for (const Flip& flip : flips) {
    Json one{{"question_id", question_id_json(flip.id, flip.integer_id)}};
    if (!flip.question.empty()) one["question"] = flip.question;
    one["before"] = flip.before;
    one["after"] = flip.after;
    list.push_back(std::move(one));
  }
  return list;
}

}  // namespace

AnswerComparison compare_answers(const OpenBenchmark& benchmark, const Answers& before, const Answers& after,
                                 const BootstrapOptions& options) {
  require(options.resamples >= 1, "resamples: expected at least 1, found {}", options.resamples);
  const Score old_score = benchmark.score(before), new_score = benchmark.score(after);
  require(old_score.scored && new_score.scored, "benchmark {}: there are no labels here, so no scores to compare",
          benchmark.benchmark->name);
  ensure(old_score.values.size() == benchmark.samples->size() && new_score.values.size() == old_score.values.size() &&
             old_score.units == new_score.units,
         "a metric's values are not those of the samples");
  AnswerComparison result{benchmark.benchmark->name, benchmark.protocol, benchmark.rule, before.where, after.where};
  result.resamples = options.resamples;
  result.seed = options.seed;
  result.unit = benchmark.benchmark->resampling.unit;
  add_flips(result, benchmark, before, after, old_score, new_score);

  const ScoreSums old_sums = sums_of(benchmark, before, old_score), new_sums = sums_of(benchmark, after, new_score);
  const bool by_category = benchmark.benchmark->resampling.by_category;
  ResampledUnits units(old_sums.size + new_sums.size);
  for (const std::vector<size_t>& samples : units_of(old_score, new_score)) {
    Additions additions = old_sums.of(samples);
    for (auto [sum, amount] : new_sums.of(samples)) additions.emplace_back(old_sums.size + sum, amount);
    units.add(by_category ? (*benchmark.samples)[samples[0]].category : "", std::move(additions));
  }
  result.units = units.size();
  const std::vector<double> sums = units.sums();
  const SummedScores old_scores = scores_of(old_sums, sums, 0), new_scores = scores_of(new_sums, sums, old_sums.size);
  check_sums(old_scores, old_score);
  check_sums(new_scores, new_score);
  result.scores = pair_up(old_scores, new_scores);
  add_intervals(result, units, old_sums, new_sums);
  return result;
}

Json comparison_to_json(const AnswerComparison& comparison) {
  Json json{{"benchmark", comparison.benchmark}, {"protocol", comparison.protocol}};
  if (!comparison.rule.empty()) json["rule"] = comparison.rule;
  json["before"] = comparison.before;
  json["after"] = comparison.after;
  json["questions"] = comparison.questions;
  json["bootstrap"] = Json{{"unit", comparison.unit}, {"units", comparison.units}, {"resamples", comparison.resamples},
                           {"seed", comparison.seed}, {"confidence", kConfidence}, {"interval", "percentile"}};
  json["scores"] = Json::array();
  for (const ComparedScore& one : comparison.scores)
    json["scores"].push_back(Json{{"name", one.name},
                                  {"before", one.before},
                                  {"after", one.after},
                                  {"difference", one.difference()},
                                  {"low", one.low},
                                  {"high", one.high}});
  json["changed_answers"] = comparison.changed;
  json["right_to_wrong"] = flips_to_json(comparison.right_to_wrong);
  json["wrong_to_right"] = flips_to_json(comparison.wrong_to_right);
  return json;
}

std::vector<std::vector<std::string>> comparison_rows(const AnswerComparison& comparison) {
  std::vector<std::vector<std::string>> rows{{comparison.benchmark, "before", "after", "difference", "95 % interval"}};
  const auto cell = [](double value) { return fmt::format("{:.4f}", value); };
  for (const ComparedScore& one : comparison.scores)
    rows.push_back({one.name, cell(one.before), cell(one.after), fmt::format("{:+.4f}", one.difference()),
                    fmt::format("[{:+.4f}, {:+.4f}]", one.low, one.high)});
  return rows;
}

std::vector<std::vector<std::string>> flip_rows(const AnswerComparison& comparison, size_t limit) {
  std::vector<std::vector<std::string>> rows{{"question", "before", "after", "change"}};
  const auto add = [&](const std::vector<Flip>& flips, const std::string& change) {
    for (size_t i = 0; i < std::min(limit, flips.size()); ++i)
      rows.push_back({printable(flips[i].id), printable(flips[i].before), printable(flips[i].after), change});
    if (flips.size() > limit) rows.push_back({fmt::format("and {} more", flips.size() - limit), "", "", change});
  };
  add(comparison.right_to_wrong, "right to wrong");
  add(comparison.wrong_to_right, "wrong to right");
  return rows;
}

}  // namespace yopo
