#include "evaluation/reference.h"

#include <gtest/gtest.h>

#include <map>

#include "evaluation/benchmarks/benchmark.h"

namespace yopo {
namespace {

using Scores = std::map<std::string, double>;  // by benchmark, as published: percent, MME's points

// LLaVA-1.5's own table, and table 2 of arXiv 2410.06169.
const std::map<std::pair<std::string, std::string>, std::vector<Scores>> kPublished = {
    {{"LLaVA-1.5", "dense"},
     {{{"vqav2", 78.5},
       {"gqa", 62.0},
       {"scienceqa", 66.8},
       {"textvqa", 58.2},
       {"pope", 85.9},
       {"mme", 1510.7},
       {"mmbench", 64.3}},
      {{"vqav2", 80.0},
       {"gqa", 63.3},
       {"scienceqa", 71.6},
       {"textvqa", 61.3},
       {"pope", 85.9},
       {"mme", 1531.3},
       {"mmbench", 67.7}}}},
    {{"YOPO, Table 2", "dense"},
     {{{"vqav2", 79.2},
       {"gqa", 62.3},
       {"scienceqa", 69.4},
       {"textvqa", 58.1},
       {"pope", 87.3},
       {"mme", 1492.8},
       {"mmbench", 65.4}},
      {{"vqav2", 79.7},
       {"gqa", 63.0},
       {"scienceqa", 72.4},
       {"textvqa", 59.8},
       {"pope", 86.4},
       {"mme", 1558.0},
       {"mmbench", 68.7}}}},
    {{"YOPO, Table 2", "YOPO 25 %"},
     {{{"vqav2", 78.0},
       {"gqa", 61.6},
       {"scienceqa", 69.0},
       {"textvqa", 56.3},
       {"pope", 86.8},
       {"mme", 1483.6},
       {"mmbench", 65.5}},
      {{"vqav2", 78.9},
       {"gqa", 62.5},
       {"scienceqa", 71.3},
       {"textvqa", 58.3},
       {"pope", 86.3},
       {"mme", 1457.3},
       {"mmbench", 67.4}}}},
    {{"YOPO, Table 2", "YOPO 12 %"},
     {{{"vqav2", 77.4},
       {"gqa", 60.7},
       {"scienceqa", 68.0},
       {"textvqa", 55.2},
       {"pope", 86.6},
       {"mme", 1429.6},
       {"mmbench", 64.1}},
      {{"vqav2", 78.1},
       {"gqa", 61.2},
       {"scienceqa", 70.7},
       {"textvqa", 56.7},
       {"pope", 86.4},
       {"mme", 1426.2},
       {"mmbench", 65.5}}}},
};

TEST(Reference, IsThePublishedTable) {
  const std::vector<std::string> models = {"llava-1.5-7b", "llava-1.5-13b"};
  EXPECT_EQ(reference_models(), models);
  for (size_t model = 0; model < models.size(); ++model)
    for (const char* benchmark : {"vqav2", "gqa", "scienceqa", "textvqa", "pope", "mme", "mmbench"}) {
      const std::vector<ReferenceScore> found = reference_scores(models[model], benchmark_named(benchmark));
      EXPECT_EQ(found.size(), kPublished.size());
      for (const ReferenceScore& one : found) {
        const double published = kPublished.at({one.source, one.setting})[model].at(benchmark);
        EXPECT_DOUBLE_EQ(one.score, std::string(benchmark) == "mme" ? published : published / 100)
            << models[model] << " " << benchmark << " " << one.source << " " << one.setting;
      }
    }
}

}  // namespace
}  // namespace yopo
