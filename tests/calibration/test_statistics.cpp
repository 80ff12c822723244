// stats.h5: round trip, order of ids, exact merging, and files that must be refused.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "calibration/statistics.h"
#include "core/error.h"
#include "formats/hdf5.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::read_file;
using testing::TemporaryFolder;

// Statistics of seeded random samples.
Statistics random_statistics(std::vector<std::string> ids, unsigned seed) {
  Statistics s{.layers = 2, .heads = 3, .intermediate_size = 4, .queries = Queries::Text, .fingerprint = "f"};
  s.ids = std::move(ids);
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform(0.0, 1e6);
  for (size_t i = 0; i < s.ids.size() * 6; ++i) s.ratio.push_back(uniform(random));
  for (auto* sums : {&s.abs_sum, &s.square_sum, &s.active})
    for (int i = 0; i < 8; ++i) sums->push_back(on_grid(uniform(random)));
  for (int i = 0; i < 8; ++i) s.column_norm.push_back(0.5 + i);
  s.rows = {36 * s.samples(), 35 * s.samples()};
  return s;
}

void expect_equal(const Statistics& a, const Statistics& b) {
  EXPECT_EQ(a.layers, b.layers);
  EXPECT_EQ(a.heads, b.heads);
  EXPECT_EQ(a.intermediate_size, b.intermediate_size);
  EXPECT_EQ(a.queries, b.queries);
  EXPECT_EQ(a.fingerprint, b.fingerprint);
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_EQ(a.ratio, b.ratio);
  EXPECT_EQ(a.abs_sum, b.abs_sum);
  EXPECT_EQ(a.square_sum, b.square_sum);
  EXPECT_EQ(a.active, b.active);
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.column_norm, b.column_norm);
}

TEST(Statistics, RoundTripAndSameBytes) {
  const TemporaryFolder folder;
  const Statistics s = random_statistics({"-3", "2", "10", "a", "b"}, 1);
  write_statistics(folder / "a.h5", s);
  write_statistics(folder / "b.h5", s);
  expect_equal(read_statistics(folder / "a.h5"), s);
  EXPECT_EQ(read_file(folder / "a.h5"), read_file(folder / "b.h5"));
}

TEST(Statistics, LayoutIsTheDocumentedOne) {
  const TemporaryFolder folder;
  write_statistics(folder / "s.h5", random_statistics({"1", "2"}, 1));
  const Hdf5File file = read_hdf5(folder / "s.h5");
  using Shape = std::vector<int64_t>;
  const std::map<std::string, Shape> shapes{{"/attention/ratio", {2, 2, 3}},
                                            {"/ffn/abs_sum", {2, 4}},
                                            {"/ffn/square_sum", {2, 4}},
                                            {"/ffn/active", {2, 4}},
                                            {"/ffn/rows", {2}},
                                            {"/ffn/column_norm", {2, 4}},
                                            {"/samples/id", {2}}};
  ASSERT_EQ(file.datasets.size(), shapes.size());
  for (const auto& [name, shape] : shapes) EXPECT_EQ(file.datasets.at(name).shape, shape) << name;
  for (const char* name : {"format", "version", "tool_version", "fingerprint", "queries"})
    EXPECT_TRUE(file.attributes.contains(name)) << name;
  EXPECT_EQ(file.attributes.at("queries"), "text");
}

TEST(Statistics, NumbersStandBeforeTextAndByValue) {
  const std::vector<std::string> sorted{"-10", "-2", "0",   "3",   "12", "100000000000000000000000",
                                        "",    "-",  "007", "10a", "a",  "b1"};
  for (size_t i = 0; i < sorted.size(); ++i)
    for (size_t j = 0; j < sorted.size(); ++j)
      EXPECT_EQ(id_less(sorted[i], sorted[j]), i < j) << sorted[i] << " and " << sorted[j];
}

TEST(Statistics, SumsOnTheGridDoNotDependOnOrderOrGrouping) {
  std::mt19937 random(7);
  std::lognormal_distribution<double> sizes(0.0, 4.0);
  std::vector<double> values(4000);
  for (double& value : values) value = on_grid(std::min(sizes(random), 1e5));
  const double forward = std::accumulate(values.begin(), values.end(), 0.0);
  ASSERT_LT(forward, std::ldexp(1.0, 29));
  for (int round = 0; round < 20; ++round) {
    std::shuffle(values.begin(), values.end(), random);
    const auto middle = values.begin() + 1 + std::ptrdiff_t(random() % 3998);
    EXPECT_EQ(std::accumulate(values.begin(), middle, 0.0) + std::accumulate(middle, values.end(), 0.0), forward);
  }
  EXPECT_EQ(on_grid(1.0), 1.0);
  EXPECT_NEAR(on_grid(1.0 / 3), 1.0 / 3, std::ldexp(1.0, -25));
  EXPECT_NE(on_grid(1.0 / 3), 1.0 / 3);
}

TEST(Statistics, MergingInAnyOrderAndGroupingGivesTheSameBytes) {
  const TemporaryFolder folder;
  const std::vector<Statistics> parts{random_statistics({"2", "9", "x"}, 1), random_statistics({"10"}, 2),
                                      random_statistics({"1", "a"}, 3)};
  const Statistics all = merge_statistics(parts);
  EXPECT_EQ(all.ids, (std::vector<std::string>{"1", "2", "9", "10", "a", "x"}));
  EXPECT_EQ(all.rows, (std::vector<int64_t>{int64_t(36) * 6, int64_t(35) * 6}));
  for (size_t i = 0; i < 8; ++i)
    EXPECT_EQ(all.abs_sum[i], parts[0].abs_sum[i] + parts[1].abs_sum[i] + parts[2].abs_sum[i]);
  // A sample's ratios go with its id.
  EXPECT_EQ(std::vector<double>(all.ratio.begin() + 18, all.ratio.begin() + 24), parts[1].ratio);
  EXPECT_EQ(std::vector<double>(all.ratio.begin(), all.ratio.begin() + 6),
            std::vector<double>(parts[2].ratio.begin(), parts[2].ratio.begin() + 6));
  expect_equal(merge_statistics({parts[2], parts[0], parts[1]}), all);
  expect_equal(merge_statistics({merge_statistics({parts[1], parts[2]}), parts[0]}), all);
  write_statistics(folder / "a.h5", all);
  write_statistics(folder / "b.h5", merge_statistics({parts[1], parts[2], parts[0]}));
  EXPECT_EQ(read_file(folder / "a.h5"), read_file(folder / "b.h5"));
}

TEST(Statistics, AnIdMayHaveSeveralSamples) {
  const TemporaryFolder folder;
  // Samples 1 and 3 of "x" in one file, 2 in another beside others.
  Statistics a = random_statistics({"2", "x", "x"}, 1), b = random_statistics({"10", "x", "y"}, 2);
  a.repeats = {1, 1, 3};
  b.repeats = {1, 2, 1};
  const Statistics all = merge_statistics({b, a});
  EXPECT_EQ(all.ids, (std::vector<std::string>{"2", "10", "x", "x", "x", "y"}));
  EXPECT_EQ(all.repeats, (std::vector<int64_t>{1, 1, 1, 2, 3, 1}));
  EXPECT_EQ(std::vector<double>(all.ratio.begin() + 18, all.ratio.begin() + 24),
            std::vector<double>(b.ratio.begin() + 6, b.ratio.begin() + 12));
  write_statistics(folder / "all.h5", all);
  const Statistics read = read_statistics(folder / "all.h5");
  expect_equal(read, all);
  EXPECT_EQ(read.repeats, all.repeats);
  EXPECT_USER_ERROR(merge_statistics({a, b, b}), "'10' is in two of the files");
  b.repeats[1] = 3;
  EXPECT_USER_ERROR(merge_statistics({a, b}), "'x' (number 3 of its id) is in two of the files");
  // Without repeats the file is as it always was.
  write_statistics(folder / "plain.h5", random_statistics({"1", "2"}, 1));
  EXPECT_FALSE(read_hdf5(folder / "plain.h5").datasets.contains("/samples/repeat"));
  EXPECT_TRUE(read_statistics(folder / "plain.h5").repeats.empty());
}

TEST(Statistics, MergeRefusals) {
  const Statistics a = random_statistics({"1", "2"}, 1);
  EXPECT_USER_ERROR(merge_statistics({}), "no statistics");
  EXPECT_USER_ERROR(merge_statistics({a, random_statistics({"2", "3"}, 2)}), "'2' is in two");
  Statistics other = random_statistics({"3"}, 2);
  other.fingerprint = "g";
  EXPECT_USER_ERROR(merge_statistics({a, other}), "different calibrations");
  other = random_statistics({"3"}, 2);
  other.queries = Queries::Decode;
  EXPECT_USER_ERROR(merge_statistics({a, other}), "decode");
  other = random_statistics({"3"}, 2);
  other.column_norm[0] = 7;
  EXPECT_USER_ERROR(merge_statistics({a, other}), "different weights");
}

// Writes what `change` makes of a good file and expects it to be refused.
void expect_refused(const std::function<void(Hdf5File&)>& change, const std::string& part) {
  const TemporaryFolder folder;
  write_statistics(folder / "s.h5", random_statistics({"1", "2"}, 1));
  Hdf5File file = read_hdf5(folder / "s.h5");
  change(file);
  write_hdf5(folder / "changed.h5", file);
  EXPECT_USER_ERROR(read_statistics(folder / "changed.h5"), part);
}

TEST(Statistics, PartsAreTheWholeOnlyTogether) {
  const TemporaryFolder folder;
  std::vector<Statistics> parts{random_statistics({"1"}, 1), random_statistics({"2"}, 2), random_statistics({"3"}, 3)};
  const Statistics whole = merge_statistics(parts);
  EXPECT_EQ(missing_parts(whole), "");
  for (size_t i = 0; i < parts.size(); ++i) parts[i].parts = 3, parts[i].held = {int64_t(i) + 1};
  const Statistics some = merge_statistics({parts[2], parts[0]});
  write_statistics(folder / "some.h5", some);
  const Statistics read = read_statistics(folder / "some.h5");
  EXPECT_EQ(read.parts, 3);
  EXPECT_EQ(read.held, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(missing_parts(read), "2/3");
  EXPECT_EQ(missing_parts(parts[1]), "1/3, 3/3");
  write_statistics(folder / "merged.h5", merge_statistics({read, parts[1]}));
  write_statistics(folder / "whole.h5", whole);
  EXPECT_EQ(read_file(folder / "merged.h5"), read_file(folder / "whole.h5"));
  Statistics other = parts[1];
  other.parts = 2;
  EXPECT_USER_ERROR(merge_statistics({parts[0], other}), "other divisions: 1/3 and 2/2");
  EXPECT_USER_ERROR(merge_statistics({parts[0], whole}), "other divisions: 1/3 and all");
  for (const char* text : {"", "3", "/3", "4/3", "0/3", "2,1/3", "1,/3", "1/3x", "1/-3"})
    expect_refused([&](Hdf5File& file) { file.attributes["part"] = text; }, "part");
}

TEST(Statistics, JournalsAreNotTakenForResults) {
  const TemporaryFolder folder;
  const Statistics s = random_statistics({"1"}, 1);
  write_statistics(folder / "s.h5.partial", s, true);
  EXPECT_USER_ERROR(read_statistics(folder / "s.h5.partial"), "unfinished");
  expect_equal(read_statistics(folder / "s.h5.partial", true), s);
}

TEST(Statistics, ReadingRefusesWhatDoesNotFit) {
  expect_refused([](Hdf5File& f) { f.attributes["version"] = "2"; }, "version '2'");
  expect_refused([](Hdf5File& f) { f.attributes["format"] = "other"; }, "'other'");
  expect_refused([](Hdf5File& f) { f.attributes.erase("fingerprint"); }, "'fingerprint'");
  expect_refused([](Hdf5File& f) { f.attributes["queries"] = "all"; }, "all");
  expect_refused([](Hdf5File& f) { f.attributes["state"] = "maybe"; }, "maybe");
  expect_refused([](Hdf5File& f) { f.datasets.erase("/ffn/active"); }, "/ffn/active");
  expect_refused([](Hdf5File& f) { f.datasets.erase("/attention/ratio"); }, "/attention/ratio");
  expect_refused([](Hdf5File& f) { f.datasets["/attention/ratio"].shape = {2, 6}; }, "[2, 6]");
  expect_refused([](Hdf5File& f) { f.datasets["/ffn/square_sum"].shape = {4, 2}; }, "[4, 2]");
  expect_refused([](Hdf5File& f) { f.datasets["/ffn/rows"] = {{2}, std::vector<double>{1, 2}}; }, "/ffn/rows");
  expect_refused([](Hdf5File& f) { f.datasets["/ffn/rows"] = {{2}, std::vector<int64_t>{1, -2}}; }, "-2");
  expect_refused([](Hdf5File& f) { std::get<0>(f.datasets["/attention/ratio"].values)[5] = NAN; }, "nan at 5");
  expect_refused([](Hdf5File& f) { std::get<0>(f.datasets["/ffn/abs_sum"].values)[1] = INFINITY; }, "inf at 1");
  expect_refused(
      [](Hdf5File& f) {
        f.datasets["/samples/id"] = {{2}, std::vector<std::string>{"2", "1"}};
      },
      "'2' stands before '1'");
  expect_refused(
      [](Hdf5File& f) {
        f.datasets["/samples/id"] = {{2}, std::vector<std::string>{"1", "1"}};
      },
      "never repeat");
  const auto repeats = [](const std::vector<int64_t>& values) {
    return [values](Hdf5File& f) {
      f.datasets["/samples/id"] = {{2}, std::vector<std::string>{"1", "1"}};
      f.datasets["/samples/repeat"] = {{int64_t(values.size())}, values};
    };
  };
  expect_refused(repeats({2, 1}), "'1' (number 2 of its id) stands before '1'");
  expect_refused(repeats({1, 1}), "never repeat");
  expect_refused(repeats({0, 1}), "'/samples/repeat' holds 0");
  expect_refused(repeats({1, 2, 3}), "/samples/repeat");
  expect_refused(
      [](Hdf5File& f) {
        f.datasets["/samples/id"] = {{3}, std::vector<std::string>{"1", "2", "3"}};
      },
      "/samples/id");
  const TemporaryFolder folder;
  testing::write_file(folder / "no.h5", "this is no HDF5 file");
  EXPECT_USER_ERROR(read_statistics(folder / "no.h5"), "no.h5");
  EXPECT_USER_ERROR(read_statistics(folder / "absent.h5"), "absent.h5");
}

}  // namespace
}  // namespace yopo
