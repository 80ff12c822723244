// The comparison of all other tests must itself fail when it should.
#include "tests/support/close.h"

#include <limits>

namespace yopo {
namespace {

using testing::close;
using testing::close_relative;

TEST(Close, FailsOnWhatMustFail) {
  const std::vector<float> one{1, 2, 3};
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(close(one, one, 0));
  EXPECT_FALSE(close(std::vector<float>{1, 2, 3.1f}, one, 0.05));
  EXPECT_TRUE(close(std::vector<float>{1, 2, 3.1f}, one, 0.2));
  EXPECT_FALSE(close(std::vector<float>{1, nan, 3}, one, 1e9));
  EXPECT_FALSE(close(one, std::vector<float>{1, nan, 3}, 1e9));
  EXPECT_FALSE(close(std::vector<float>{1, inf, 3}, one, 1e9));
  EXPECT_FALSE(close(std::vector<float>{inf}, std::vector<float>{inf}, 1e9));
  EXPECT_FALSE(close(std::vector<float>{1, 2}, one, 1e9));
  EXPECT_FALSE(close(std::vector<float>{}, std::vector<float>{}, 1));
  EXPECT_FALSE(close_relative(one, std::vector<float>{1, nan, 3}, 1e9));
}

TEST(Close, NamesTheWorstPlace) {
  const auto result = close(std::vector<float>{1, 5, 3.5f}, std::vector<float>{1, 2, 3}, 0.1);
  EXPECT_NE(std::string(result.message()).find("worst at 1 of 3"), std::string::npos) << result.message();
}

}  // namespace
}  // namespace yopo
