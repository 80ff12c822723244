#include "formats/hdf5.h"

#include <cstring>
#include <random>
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

// Without the line that seals it nothing tells that it was damaged: whatever its metadata say now, it is read or is a
// UserError, and the next file is read as ever. The HDF5 library does not survive this.
TEST(Hdf5, AnyDamageInOneProcess) {
  const TemporaryFolder folder;
  Hdf5File small = example();
  small.attributes.erase("long");
  write_hdf5(folder / "a.h5", small);
  const std::string sealed = read_file(folder / "a.h5");
  const std::string bytes = sealed.substr(0, sealed.rfind("\nyopo-hdf5 content "));
  size_t refused = 0, tried = 0;
  const auto read = [&](const std::string& damaged) {
    testing::write_file(folder / "damaged.h5", damaged);
    ++tried;
    try {
      (void)read_hdf5(folder / "damaged.h5");
    } catch (const UserError& error) {
      ++refused;
      EXPECT_NE(std::string(error.what()).find("damaged.h5"), std::string::npos) << error.what();
    }
  };
  for (const int flip : {0x01, 0x80, 0xff})
    for (size_t at = 0; at < bytes.size(); at += 13) {
      std::string damaged = bytes;
      damaged[at] = char(damaged[at] ^ flip);
      read(damaged);
    }
  std::mt19937_64 chance(20241006);
  for (int round = 0; round < 2000; ++round) {
    std::string damaged = bytes;
    for (uint64_t i = 0, n = 1 + chance() % 8; i < n; ++i) {
      // A pointer or a size in the metadata becomes any other, most of all one within the file.
      const uint64_t at = chance() % (bytes.size() - 8), value = chance() % (chance() % 2 ? bytes.size() : UINT64_MAX);
      std::memcpy(damaged.data() + at / 8 * 8, &value, 8);
    }
    read(damaged);
  }
  EXPECT_GT(refused, 300u);
  EXPECT_GT(tried - refused, 300u) << "much of a file is values and padding";
  EXPECT_EQ(read_hdf5(folder / "a.h5").attributes, small.attributes);
}

// A small file in which 60,000 names lead to one object whose header takes long to read: its time is bounded, too.
TEST(Hdf5, NamesThatLeadToOneLongHeader) {
  const TemporaryFolder folder;
  Hdf5File file;
  file.datasets["/x"] = {{1}, std::vector<double>{1}};
  write_hdf5(folder / "a.h5", file);
  std::string bytes = read_file(folder / "a.h5");
  bytes = bytes.substr(0, bytes.rfind("\nyopo-hdf5 content "));
  const auto get = [&](size_t at, size_t width) {
    uint64_t value = 0;
    std::memcpy(&value, bytes.data() + at, width);
    return value;
  };
  const auto put = [&](size_t at, uint64_t value, size_t width) { std::memcpy(bytes.data() + at, &value, width); };
  const size_t tree = bytes.find("TREE"), table = bytes.find("SNOD");
  ASSERT_NE(table, std::string::npos);
  const uint64_t name = get(table + 8, 8), old_header = get(table + 16, 8);
  const size_t header = bytes.size(), empty_messages = 100'000;
  const std::string messages = bytes.substr(old_header + 16, get(old_header + 8, 4));
  bytes += bytes.substr(old_header, 16) + messages + std::string(8 * empty_messages, '\0');
  put(header + 8, messages.size() + 8 * empty_messages, 4);
  const size_t names = bytes.size();
  bytes += std::string("SNOD\1\0\0\0", 8) + std::string(size_t(40) * 60'000, '\0');
  put(names + 6, 60'000, 2);
  for (size_t i = 0; i < 60'000; ++i) {
    put(names + 8 + 40 * i, name, 8);
    put(names + 16 + 40 * i, header, 8);
  }
  put(tree + 32, names, 8);
  put(40, bytes.size(), 8);
  testing::write_file(folder / "many.h5", bytes);
  EXPECT_USER_ERROR(read_hdf5(folder / "many.h5"), "a damaged HDF5 file");
  put(names + 6, 1, 2);
  testing::write_file(folder / "one.h5", bytes);
  EXPECT_EQ(read_hdf5(folder / "one.h5").datasets.size(), 1u) << "nothing else is wrong with it";
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
