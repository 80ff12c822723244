#include "evaluation/by_images.h"

#include <gtest/gtest.h>

#include "tests/support/temporary.h"

namespace yopo {
namespace {

std::string order_of(const std::vector<Sample>& samples) {
  std::vector<const Sample*> all;
  all.reserve(samples.size());
  for (const Sample& sample : samples) all.push_back(&sample);
  std::string ids;
  for (const Sample* sample : by_images(all)) ids += sample->id;
  return ids;
}

Sample about(const std::string& id, std::vector<fs::path> images) {
  Sample sample;
  sample.id = id;
  sample.images = std::move(images);
  return sample;
}

TEST(ByImages, QuestionsOfAnImageFollowItsFirst) {
  EXPECT_EQ(order_of({about("a", {"1.png"}), about("b", {"2.png"}), about("c", {"1.png"}), about("d", {"3.png"}),
                      about("e", {"2.png"}), about("f", {"1.png"})}),
            "acfbed");
  EXPECT_EQ(order_of({}), "");
}

TEST(ByImages, OnlyTheSameImagesInTheSameOrder) {
  EXPECT_EQ(order_of({about("a", {"1", "2"}), about("b", {"2", "1"}), about("c", {"1"}), about("d", {}),
                      about("e", {"12"}), about("f", {"1", "2"}), about("g", {}), about("h", {"1"})}),
            "afbchdge");
}

TEST(ByImages, ImagesInsideAFileByWhatTheyHold) {
  const testing::TemporaryFolder folder;
  testing::write_file(folder / "t.tsv", "AAAA BBBB AAAA");
  const auto file = MappedFile::open(folder / "t.tsv");
  std::vector<Sample> samples{about("a", {}), about("b", {}), about("c", {}), about("d", {})};
  for (size_t i = 0; i < 3; ++i) samples[i].encoded = {{file, 5 * i, 4}};
  EXPECT_EQ(order_of(samples), "acbd");
}

}  // namespace
}  // namespace yopo
