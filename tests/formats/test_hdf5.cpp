#include "formats/hdf5.h"

#include <thread>

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::TemporaryFolder;

Hdf5File example() {
  Hdf5File file;
  file.datasets["/attention/ratio"] = {{2, 1, 3}, std::vector<double>{0.1, -2, 3e300, 4, 5e-324, 6}};
  file.datasets["/ffn/deep/rows"] = {{2}, std::vector<int64_t>{-1, INT64_MAX}};
  file.datasets["/samples/id"] = {{3}, std::vector<std::string>{"a", "", "größer"}};
  file.datasets["/none"] = {{0, 4}, std::vector<double>{}};
  file.datasets["/scalar"] = {{}, std::vector<double>{2.5}};
  file.attributes = {{"format", "yopo-statistics"}, {"empty", ""}, {"long", std::string(60'000, 'x')}};
  for (int i = 0; i < 20; ++i) file.attributes["a" + std::to_string(i)] = "é" + std::to_string(i);
  return file;
}

TEST(Hdf5, RoundTrip) {
  const TemporaryFolder folder;
  const Hdf5File written = example();
  write_hdf5(folder / "a.h5", written);
  const Hdf5File read = read_hdf5(folder / "a.h5");
  EXPECT_EQ(read.attributes, written.attributes);
  ASSERT_EQ(read.datasets.size(), written.datasets.size());
  for (const auto& [name, array] : written.datasets) {
    ASSERT_TRUE(read.datasets.contains(name)) << name;
    EXPECT_EQ(read.datasets.at(name).shape, array.shape) << name;
    EXPECT_EQ(read.datasets.at(name).values, array.values) << name;
  }
}

TEST(Hdf5, SameContentSameBytes) {
  const TemporaryFolder folder;
  write_hdf5(folder / "a.h5", example());
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // timestamps count seconds
  write_hdf5(folder / "other.h5", example());
  EXPECT_EQ(read_file(folder / "a.h5"), read_file(folder / "other.h5"));
  EXPECT_EQ(size_t(std::distance(fs::directory_iterator(folder.path()), {})), 2u) << "no temporary is left";
}

TEST(Hdf5, RefusesWhatIsNone) {
  const TemporaryFolder folder;
  EXPECT_USER_ERROR(read_hdf5(folder / "absent.h5"), "absent.h5");
  testing::write_file(folder / "a.h5", "{}");
  EXPECT_USER_ERROR(read_hdf5(folder / "a.h5"), "a.h5: not an HDF5 file");
  testing::write_file(folder / "a.h5", "");
  EXPECT_USER_ERROR(read_hdf5(folder / "a.h5"), "not an HDF5 file");
}

TEST(Hdf5, CutFilesAreErrors) {
  const TemporaryFolder folder;
  write_hdf5(folder / "a.h5", example());
  const std::string bytes = read_file(folder / "a.h5");
  const size_t content = bytes.rfind("\nyopo-hdf5 content ");
  ASSERT_NE(content, std::string::npos);
  for (size_t size = 0; size < content; size += 307) {
    testing::write_file(folder / "cut.h5", bytes.substr(0, size));
    EXPECT_THROW(read_hdf5(folder / "cut.h5"), UserError) << size;
  }
}

TEST(Hdf5, DamageAnywhereIsAnError) {
  const TemporaryFolder folder;
  write_hdf5(folder / "a.h5", example());
  const std::string bytes = read_file(folder / "a.h5");
  const size_t content = bytes.rfind("\nyopo-hdf5 content ");
  ASSERT_NE(content, std::string::npos);
  for (size_t at = 0; at < content; at += 211) {
    std::string damaged = bytes;
    damaged[at] = char(damaged[at] ^ 0x10);
    testing::write_file(folder / "damaged.h5", damaged);
    EXPECT_USER_ERROR(read_hdf5(folder / "damaged.h5"), "damaged.h5: damaged");
  }
  testing::write_file(folder / "bare.h5", bytes.substr(0, content));
  EXPECT_EQ(read_hdf5(folder / "bare.h5").attributes, example().attributes) << "as another program would write it";
}

TEST(Hdf5, LimitsElements) {
  const TemporaryFolder folder;
  Hdf5File file;
  file.datasets["/x"] = {{11}, std::vector<double>(11, 1)};
  write_hdf5(folder / "a.h5", file);
  EXPECT_NO_THROW(read_hdf5(folder / "a.h5", 11));
  EXPECT_USER_ERROR(read_hdf5(folder / "a.h5", 10), "dataset /x: 11 elements; expected at most 10");
}

TEST(Hdf5, OwnMistakesAreInternal) {
  const TemporaryFolder folder;
  Hdf5File file;
  file.datasets["/x"] = {{2}, std::vector<double>(3)};
  EXPECT_THROW(write_hdf5(folder / "a.h5", file), InternalError);
  file.datasets = {{"x", {{}, std::vector<double>(1)}}};
  EXPECT_THROW(write_hdf5(folder / "a.h5", file), InternalError);
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Hdf5, ABadFolderNamesTheFile) { EXPECT_USER_ERROR(write_hdf5("/proc/none/a.h5", example()), "/proc/none"); }

}  // namespace
}  // namespace yopo
