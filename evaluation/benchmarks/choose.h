// Some of a benchmark's questions, whole units of them.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "datasets/sample.h"

namespace yopo {

/// The `count` of `units` (one a sample) that a hash chooses, as flags of the samples.
std::vector<bool> choose_units(const std::vector<std::string>& units, int64_t count);

template <typename T>
void keep_flagged(std::vector<T>& items, const std::vector<bool>& keep) {
  size_t to = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!keep[i]) continue;
    if (to != i) items[to] = std::move(items[i]);
    ++to;
  }
  items.resize(to);
}

/// What a reader gave, with `count` of its units (0: all): `unit_of(data, i)` names the unit of sample i. Data has
/// `samples`, and may have `questions` beside them and `unasked`, which is emptied when some are chosen.
template <typename Data, typename UnitOf>
std::shared_ptr<const Data> chosen(Data data, int64_t count, UnitOf unit_of) {
  if (count > 0) {
    std::vector<std::string> units;
    for (size_t i = 0; i < data.samples.size(); ++i) units.push_back(unit_of(data, i));
    const std::vector<bool> keep = choose_units(units, count);
    keep_flagged(data.samples, keep);
    if constexpr (requires { data.questions; }) keep_flagged(data.questions, keep);
    if constexpr (requires { data.unasked; }) data.unasked = {};
  }
  return std::make_shared<const Data>(std::move(data));
}

/// The same where each question is a unit of its own.
template <typename Data>
std::shared_ptr<const Data> chosen(Data data, int64_t count) {
  return chosen(std::move(data), count, [](const Data& all, size_t i) { return question_key(all.samples[i]); });
}

/// The samples of shared data, which they keep alive.
template <typename Data>
std::shared_ptr<const std::vector<Sample>> samples_of(const std::shared_ptr<const Data>& data) {
  return {data, &data->samples};
}

}  // namespace yopo
