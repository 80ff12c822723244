#include "evaluation/score_sums.h"

#include <algorithm>

#include "core/error.h"
#include "evaluation/benchmarks/mme/read.h"
#include "evaluation/benchmarks/pope/score.h"
#include "text/unicode.h"

namespace yopo {

namespace {

// The sums of a category, by kind.
enum MeanSum : size_t { kRight, kCount, kMeanSums };
enum MmeSum : size_t { kMmeRight, kMmeQuestions, kMmeBoth, kMmePairs, kMmeSums };
enum PopeSum : size_t { kTrueYes, kFalseYes, kFalseNo, kPopeRight, kPopeAll, kSaidYes, kLabelledYes, kPopeSums };

double quotient(double sum, double count) { return count == 0 ? 0.0 : sum / count; }

template <typename T>
const T* find(const std::vector<std::pair<std::string, T>>& list, const std::string& name) {
  for (const auto& [known, value] : list)
    if (known == name) return &value;
  return nullptr;
}

}  // namespace

ScoreSums::ScoreSums(const OpenBenchmark& benchmark, const Answers& answers, const Score& score)
    : benchmark_(benchmark), answers_(answers), score_(score) {
  const std::string& name = benchmark.benchmark->name;
  kind_ = name == "mme" ? Kind::Mme : name == "pope" ? Kind::Pope : Kind::Mean;
  const size_t width = kind_ == Kind::Mme    ? size_t(kMmeSums)
                       : kind_ == Kind::Pope ? size_t(kPopeSums)
                                             : size_t(kMeanSums);
  ensure(score.groups.empty() || score.groups.size() == score.values.size(), "groups of some samples only");
  if (kind_ == Kind::Mean) start_.emplace("", 0);
  for (const auto& names : score.groups)
    for (const std::string& one : names) start_.emplace(one, 0);
  for (auto& [one, at] : start_) {
    at = size_;
    size_ += width;
  }
  unasked_.assign(size_, 0.0);
  if (kind_ == Kind::Mean) keep_unasked();
}

void ScoreSums::keep_unasked() {
  const std::string& name = benchmark_.benchmark->name;
  if (name == "scienceqa") {
    const auto total = start_.find("total");
    if (total != start_.end()) unasked_[total->second + kCount] = double(score_.count) - double(score_.values.size());
  }
  if (name != "vqav2") return;
  for (const auto& [type, at] : start_) {
    double sum = 0, count = 0;
    for (size_t i = 0; i < score_.values.size(); ++i) {
      if (!type.empty() && score_.groups[i][0] != type) continue;
      sum += score_.values[i];
      ++count;
    }
    const int64_t* of_type = find(score_.details, type);
    const double* mean = find(score_.categories, type);
    const double all = type.empty() ? double(score_.count) : of_type == nullptr ? count : double(*of_type);
    if (all == count) continue;
    unasked_[at + kCount] = all - count;
    unasked_[at + kRight] = (type.empty() ? score_.score : *mean) * all - sum;
  }
}

Additions ScoreSums::of(const std::vector<size_t>& samples) const {
  Additions additions;
  if (kind_ == Kind::Mean)
    add_mean(samples, additions);
  else if (kind_ == Kind::Mme)
    add_mme(samples, additions);
  else
    for (const size_t sample : samples) add_pope(sample, additions);
  return additions;
}

void ScoreSums::add_mean(const std::vector<size_t>& samples, Additions& to) const {
  double value = 1;
  std::vector<std::string> names{""};
  for (const size_t i : samples) {
    value = std::min(value, score_.values[i]);
    if (!score_.groups.empty()) names.insert(names.end(), score_.groups[i].begin(), score_.groups[i].end());
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) {
    to.emplace_back(start_.at(name) + kRight, value);
    to.emplace_back(start_.at(name) + kCount, 1.0);
  }
}

void ScoreSums::add_mme(const std::vector<size_t>& samples, Additions& to) const {
  const size_t at = start_.at(score_.groups[samples[0]][0]);
  double right = 0;
  for (const size_t i : samples) right += score_.values[i];
  to = {{at + kMmeRight, right},
        {at + kMmeQuestions, double(samples.size())},
        {at + kMmeBoth, right == 2 ? 1.0 : 0.0},
        {at + kMmePairs, 1.0}};
}

void ScoreSums::add_pope(size_t sample, Additions& to) const {
  const Sample& question = (*benchmark_.samples)[sample];
  const YesNo said = pope_answer(answer_to(question, answers_), benchmark_.protocol);
  const bool yes = lower(question.answers.at(0)) == "yes";
  const size_t at = start_.at(score_.groups[sample][0]);
  const auto add = [&](PopeSum sum, bool counted) { to.emplace_back(at + sum, counted ? 1.0 : 0.0); };
  add(kTrueYes, said == YesNo::Yes && yes);
  add(kFalseYes, said == YesNo::Yes && !yes);
  add(kFalseNo, said == YesNo::No && yes);
  add(kPopeRight, score_.values[sample] == 1);
  add(kPopeAll, true);
  add(kSaidYes, said == YesNo::Yes);
  add(kLabelledYes, yes);
}

SummedScores ScoreSums::scores(const std::vector<double>& sums, size_t first) const {
  ensure(first + size_ <= sums.size(), "fewer sums than the scores need");
  std::vector<double> own(size_);
  for (size_t i = 0; i < size_; ++i) own[i] = sums[first + i] + unasked_[i];
  if (kind_ == Kind::Mme) return mme_scores(own.data());
  return kind_ == Kind::Pope ? pope_scores(own.data()) : mean_scores(own.data());
}

SummedScores ScoreSums::mean_scores(const double* sums) const {
  SummedScores made;
  for (const auto& [name, at] : start_) {
    const double mean = quotient(sums[at + kRight], sums[at + kCount]);
    if (name.empty())
      made.score = mean;
    else
      made.categories[name] = mean;
  }
  if (benchmark_.benchmark->name == "scienceqa") {
    const auto image = made.categories.find("IMG");
    made.score = image == made.categories.end() ? 0.0 : image->second;
  }
  return made;
}

SummedScores ScoreSums::mme_scores(const double* sums) const {
  SummedScores made;
  double &perception = made.categories["perception"], &cognition = made.categories["cognition"];
  for (size_t i = 0; i < mme_categories().size(); ++i) {
    const auto found = start_.find(mme_categories()[i]);
    if (found == start_.end()) continue;
    const double* of = sums + found->second;
    const double points =
        100 * quotient(of[kMmeRight], of[kMmeQuestions]) + 100 * quotient(of[kMmeBoth], of[kMmePairs]);
    made.categories[found->first] = points;
    (i < kMmePerception ? perception : cognition) += points;
  }
  made.score = perception;
  return made;
}

SummedScores ScoreSums::pope_scores(const double* sums) const {
  SummedScores made;
  for (const auto& [name, at] : start_) {
    const double* of = sums + at;
    const double precision = quotient(of[kTrueYes], of[kTrueYes] + of[kFalseYes]);
    const double recall = quotient(of[kTrueYes], of[kTrueYes] + of[kFalseNo]);
    const double f1 = quotient(2 * precision * recall, precision + recall);
    made.score += f1;
    made.categories[name + "/accuracy"] = quotient(of[kPopeRight], of[kPopeAll]);
    made.categories[name + "/precision"] = precision;
    made.categories[name + "/recall"] = recall;
    made.categories[name + "/f1"] = f1;
    made.categories[name + "/yes_ratio"] =
        quotient(of[benchmark_.protocol == "lmms" ? kLabelledYes : kSaidYes], of[kPopeAll]);
  }
  made.score = quotient(made.score, double(start_.size()));
  return made;
}

}  // namespace yopo
