#include <gtest/gtest.h>

#include "core/error.h"
#include "core/values.h"
#include "pipeline/recipe.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

TEST(RecipeValues, Sizes) {
  EXPECT_EQ(parse_size("5GB", "w"), 5'000'000'000u);
  EXPECT_EQ(parse_size("512MiB", "w"), 512u << 20);
  EXPECT_EQ(parse_size("1000", "w"), 1000u);
  EXPECT_EQ(parse_size("1.5 kb", "w"), 1500u);
  EXPECT_EQ(parse_size("1TiB", "w"), uint64_t(1) << 40);
  EXPECT_EQ(parse_size("7b", "w"), 7u);
  for (const char* bad : {"", "GB", "5XB", "-5GB", "5GBs", "1e3", "nan", "5.5.5", "0x10", " 5", "5GB "})
    EXPECT_USER_ERROR(parse_size(bad, "--shard-size"), "--shard-size: expected a size");
  for (const char* bad : {"0", "0GB", "0.2", "99999999TB"})
    EXPECT_USER_ERROR(parse_size(bad, "w"), "between 1 byte and 8 PiB");
}

TEST(RecipeValues, KeepTellsCountsFromFractions) {
  const auto is = [](const char* text, bool fraction, double value) {
    const Keep keep = parse_keep(text, "w");
    return keep.fraction == fraction && keep.value == value;
  };
  EXPECT_TRUE(is("1", false, 1));
  EXPECT_TRUE(is("1.0", true, 1));
  EXPECT_TRUE(is("0", false, 0));
  EXPECT_TRUE(is("0.0", true, 0));
  EXPECT_TRUE(is("16", false, 16));
  EXPECT_TRUE(is(".25", true, 0.25));
  EXPECT_TRUE(is("1e-2", true, 0.01));
  for (const char* bad : {"", "half", "nan", "inf", "25%", "0x1", "1 2"})
    EXPECT_USER_ERROR(parse_keep(bad, "--heads"), "--heads: expected a count (16) or a fraction (0.25)");
  for (const char* bad : {"1.01", "-0.1", "2e0"})
    EXPECT_USER_ERROR(parse_keep(bad, "w"), "a fraction should lie in [0, 1]");
  for (const char* bad : {"-1", "2000000000"}) EXPECT_USER_ERROR(parse_keep(bad, "w"), "a count should lie in");
}

TEST(RecipeValues, NamesGoBothWays) {
  for (const Queries queries : {Queries::Prefill, Queries::Text, Queries::Decode})
    EXPECT_EQ(parse_queries(name_of(queries), "w"), queries);
  for (const NeuronScore score : {NeuronScore::MeanAbs, NeuronScore::Rms, NeuronScore::Active, NeuronScore::Wanda})
    EXPECT_EQ(parse_score(name_of(score), "w"), score);
  EXPECT_USER_ERROR(parse_queries("decod", "--queries"),
                    "--queries: expected one of prefill, text, decode; found 'decod'; did you mean 'decode'?");
  EXPECT_USER_ERROR(parse_score("", "--score"), "--score: expected one of mean_abs, rms, active, wanda; found ''");
}

}  // namespace
}  // namespace yopo
