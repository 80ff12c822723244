// The cases under tests/data/compensation: plans with compensation, what the reference decoder makes of them
// (tests/reference/generate/compensation.py), and what wrong readings of the documents would make.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "models/trace.h"
#include "plans/compensation.h"
#include "plans/plan.h"
#include "tests/support/close.h"
#include "tests/support/reference_case.h"

namespace yopo::testing {

struct CompensationCase {
  std::string name, run;  // "llava", "pruned"
  CaseOf of;
  Json info;  // of `of`: spans, decoded tokens
  double tolerance = 0;
  std::vector<std::string> mutants;

  fs::path folder() const { return test_data() / "compensation" / name; }
  SafetensorsFile expected() const { return SafetensorsFile::open(folder() / (run + ".safetensors")); }
  ModelInput input() const {
    const auto file = [&](const char* part) { return SafetensorsFile::open(fixtures() / of.test / part); };
    return embedded_input(info, file("inputs.safetensors"), file("dense.safetensors"));
  }
  std::vector<int64_t> decode() const { return info.at("decode_tokens").get<std::vector<int64_t>>(); }
  std::string text() const { return name + "_" + run; }
};

inline std::vector<CompensationCase> compensation_cases() {
  std::vector<CompensationCase> cases;
  for (const std::string name : {"llava", "qwen2vl"}) {
    const Json json = read_json(test_data() / "compensation" / name / "case.json");
    for (const auto& [run, mutants] : json.at("plans").items()) {
      const CaseOf of{json.at("model"), json.at("case")};
      cases.push_back({name, run, of, case_json(of.test), json.at("tolerance").at(run).at("values"),
                       mutants.get<std::vector<std::string>>()});
    }
  }
  return cases;
}

inline void PrintTo(const CompensationCase& one, std::ostream* out) { *out << one.text(); }

/// The case's plan through the plan's own reader. The files lack its digest: that of the vectors as they lie there.
inline Plan plan_of(const CompensationCase& one) {
  const std::string vectors = one.run + ".plan.safetensors";
  const fs::path file = one.folder() / (one.run + ".plan.json");
  const SafetensorsFile values = SafetensorsFile::open(one.folder() / vectors);
  Json json = read_json(file);
  Json plain = json;
  for (Json& layer : plain["layers"]) layer.erase("compensation");
  Plan plan = plan_from_json(plain, file.string());
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    if (!has(json["layers"][l], "compensation")) continue;
    const std::string at = fmt::format("layers.{}.", l);
    Compensation added;
    added.rank = json["layers"][l]["compensation"]["rank"];
    added.bias = values.at(at + "bias").floats();
    if (added.rank > 0) added.down = values.at(at + "down").floats(), added.up = values.at(at + "up").floats();
    plan.layers[l].compensation = std::make_shared<const Compensation>(std::move(added));
  }
  json["compensation"] = compensation_to_json(plan, vectors);
  Plan read = plan_from_json(json, file.string(), one.folder());
  EXPECT_EQ(read, plan) << one.text();
  return read;
}

/// What every forward has to give: the hidden rows, the text rows' logits, those of four decoded tokens; and to none of
/// the mutants it may be near.
inline void expect_case(const CompensationCase& one, const Trace& found) {
  const SafetensorsFile expected = one.expected();
  EXPECT_TRUE(close(found.hidden, expected.at("hidden").floats(), one.tolerance)) << one.text();
  EXPECT_TRUE(close(found.decode_logits, expected.at("decode_logits").floats(), one.tolerance)) << one.text();
  std::vector<bool> visual(size_t(found.length));
  std::vector<int64_t> shown;  // the last row of each picture and of the prompt
  for (const Span& span : spans_of(one.info)) {
    std::fill_n(visual.begin() + span.start, span.count(), true);
    shown.push_back(span.start + span.count() - 1);
  }
  shown.push_back(found.length - 1);
  ASSERT_EQ(int64_t(found.logits.size()), found.length * found.vocab_size);
  std::vector<float> logits;
  for (int64_t t = 0; t < found.length; ++t)
    if (!visual[size_t(t)]) {
      const auto row = found.logits.begin() + t * found.vocab_size;
      logits.insert(logits.end(), row, row + found.vocab_size);
    }
  EXPECT_TRUE(close(logits, expected.at("logits").floats(), one.tolerance)) << one.text();

  if (one.mutants.empty()) return;
  EXPECT_GE(one.mutants.size(), 13u);
  const SafetensorsFile wrong = SafetensorsFile::open(one.folder() / "mutants.safetensors");
  std::vector<float> rows;
  for (const int64_t t : shown) {
    const auto row = found.hidden.begin() + (found.layers * found.length + t) * found.hidden_size;
    rows.insert(rows.end(), row, row + found.hidden_size);
  }
  for (const std::string& mutant : one.mutants) {
    const std::vector<float> hidden = wrong.at(mutant + ".hidden").floats();
    const std::vector<float> decoded = wrong.at(mutant + ".decode_logits").floats();
    ASSERT_EQ(hidden.size(), rows.size());
    ASSERT_EQ(decoded.size(), found.decode_logits.size());
    EXPECT_FALSE(close(rows, hidden, 500 * one.tolerance) && close(found.decode_logits, decoded, 500 * one.tolerance))
        << one.text() << " is near " << mutant;
  }
}

}  // namespace yopo::testing
