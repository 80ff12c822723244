#include "cli/table.h"

#include <gtest/gtest.h>

namespace yopo::cli {
namespace {

EvaluationResult result(const std::string& benchmark, double score,
                        const std::vector<std::pair<std::string, double>>& categories) {
  EvaluationResult made;
  made.benchmark = benchmark;
  made.count = 20;
  made.score = score;
  made.categories = categories;
  made.points = benchmark == "mme";
  return made;
}

/// `row` with single spaces, whatever the widths of the columns are.
bool holds(const std::string& table, const std::string& row) {
  std::string narrow;
  for (const char c : table)
    if (c != ' ' || !narrow.ends_with(' ')) narrow += c;
  return narrow.find(row) != std::string::npos;
}

TEST(RunTable, HasEveryBenchmarkInItsUnit) {
  const std::string table = run_table({result("pope", 0.9, {{"random/f1", 0.9}, {"random/recall", 0.7}}),
                                       result("pope", 0.81, {{"random/f1", 0.81}, {"random/recall", 0.6}}),
                                       result("mme", 1500, {{"count", 150.25}}), result("mme", 1200, {{"count", 0}})},
                                      Comparison());
  EXPECT_TRUE(holds(table, "pope: random/f1 90.0 % 81.0 % 90.0 %\n")) << table;
  EXPECT_FALSE(holds(table, "recall")) << table;
  EXPECT_TRUE(holds(table, "pope: mean F1 of the splits, 20 scored 90.0 % 81.0 % 90.0 %\n")) << table;
  EXPECT_TRUE(holds(table, "mme: count 150.2 0.0 0.0 %\n")) << table;
  EXPECT_TRUE(holds(table, "mme: perception points, 20 scored 1500.0 1200.0 80.0 %\n")) << table;
}

TEST(RunTable, SaysWhatIsNotScored) {
  EvaluationResult open = result("vqav2", 0, {});
  open.scored = false;
  EXPECT_TRUE(holds(run_table({open, open}, Comparison()), "vqav2: 20 answered, not scored: no labels\n"));
}

TEST(ScoreText, IsAFractionOrPoints) {
  EXPECT_EQ(score_text(result("gqa", 0, {}), 0.5), "0.5000");
  EXPECT_EQ(score_text(result("mme", 0, {}), 1510.66), "1510.7");
}

}  // namespace
}  // namespace yopo::cli
