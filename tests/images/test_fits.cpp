// Qwen2-VL's and InternVL2's image rules, and the grids of all.
#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "core/json.h"
#include "formats/safetensors.h"
#include "images/processor.h"
#include "images/smart_resize.h"
#include "images/tiles.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::close;
using Grids = std::vector<std::array<int64_t, 2>>;

const fs::path kCases = fs::path(YOPO_TEST_DATA) / "fixtures/preprocess";

ImageSpec qwen2_vl() {
  ImageSpec spec;
  spec.fit = ImageSpec::Fit::SmartResize;
  spec.patch_size = 14;
  spec.merge_size = spec.temporal_patch_size = 2;
  spec.min_pixels = int64_t(56) * 56;
  spec.max_pixels = 12'845'056;
  spec.mean = {0.48145466f, 0.4578275f, 0.40821073f};
  spec.pad_color = {122, 116, 104};
  spec.std = {0.26862954f, 0.26130258f, 0.27577711f};
  return spec;
}

ImageSpec internvl(int64_t side, int64_t patch, int64_t tiles) {
  ImageSpec spec;
  spec.fit = ImageSpec::Fit::Tiles;
  spec.patch_size = patch;
  spec.tile_size = side;
  spec.max_tiles = tiles;
  spec.thumbnail = true;
  spec.mean = {0.485f, 0.456f, 0.406f};
  spec.pad_color = {123, 116, 103};
  spec.std = {0.229f, 0.224f, 0.225f};
  return spec;
}

Image image_of(const TensorView& view) {
  const uint8_t* bytes = view.data<uint8_t>();
  return {view.shape.at(1), view.shape.at(0), {bytes, bytes + view.bytes.size()}};
}

Image plain_image(int64_t width, int64_t height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(size_t(width * height * 3), value)};
}

/// Red counts the pixels row by row, green is 100 more, blue 200 more.
Image counted_image(int64_t width, int64_t height) {
  Image image = plain_image(width, height, 0);
  for (size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = uint8_t(i / 3 + 100 * (i % 3));
  return image;
}

/// The bytes themselves, as floats.
ImageSpec raw(ImageSpec spec) {
  spec.do_rescale = spec.do_normalize = false;
  return spec;
}

::testing::AssertionResult same_bits(const std::vector<float>& actual, const std::vector<float>& expected) {
  if (auto near = close(actual, expected, 0); !near) return near;
  if (std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)) == 0)
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "equal, but not in every bit";
}

TEST(SmartResize, EqualsTheReferenceCasesInEveryBit) {
  const SafetensorsFile file = SafetensorsFile::open(kCases / "preprocess.safetensors");
  const Json facts = read_json(kCases / "preprocess.json").at("qwen2vl");
  ImageSpec spec = qwen2_vl();
  spec.patch_size = facts["params"]["patch_size"].get<int64_t>();
  spec.merge_size = facts["params"]["merge_size"].get<int64_t>();
  spec.temporal_patch_size = facts["params"]["temporal_patch_size"].get<int64_t>();
  spec.min_pixels = facts["params"]["min_pixels"].get<int64_t>();
  spec.max_pixels = facts["params"]["max_pixels"].get<int64_t>();
  for (int i = 0; i < 3; ++i) {
    const Pixels pixels = process_pixels(spec, image_of(file.at(fmt::format("image{}.u8_hwc", i))));
    EXPECT_TRUE(same_bits(pixels.values, file.at(fmt::format("qwen2vl.{}.pixel_values", i)).floats())) << i;
    const Json& grid = facts[std::to_string(i)][0];
    EXPECT_EQ(pixels.grids, (Grids{{grid[1].get<int64_t>(), grid[2].get<int64_t>()}})) << i;
  }
}

TEST(SmartResize, EqualsTheReferenceTable) {
  const Json table = read_json(kCases / "preprocess.json").at("qwen2vl").at("smart_resize_table");
  ASSERT_EQ(table["factor"], 28);
  ASSERT_GE(table["rows"].size(), 9u);
  ImageSpec spec = qwen2_vl();
  spec.min_pixels = table["min_pixels"].get<int64_t>();
  spec.max_pixels = table["max_pixels"].get<int64_t>();
  for (const Json& row : table["rows"]) {
    const auto numbers = row.get<std::vector<int64_t>>();
    EXPECT_EQ(smart_resize(spec, {numbers.at(0), numbers.at(1)}), (ImageSize{numbers.at(2), numbers.at(3)})) << row;
  }
}

TEST(SmartResize, TakesHalvesToTheEvenSide) {
  // 70 / 28 = 2.5 and 98 / 28 = 3.5.
  EXPECT_EQ(smart_resize(qwen2_vl(), {70, 98}), (ImageSize{56, 112}));
}

TEST(SmartResize, RefusesExtremeRatiosAsTheReferenceDoes) {
  EXPECT_EQ(smart_resize(qwen2_vl(), {1, 200}), (ImageSize{28, 812}));
  EXPECT_USER_ERROR(smart_resize(qwen2_vl(), {1, 201}),
                    "201 x 1 pixels: expected an aspect ratio of at most 200, found 201");
  EXPECT_USER_ERROR(process_pixels(qwen2_vl(), plain_image(2, 401, 0)), "found 200.5");
}

TEST(SmartResize, LaysPatchesOutInMergeBlocks) {
  ImageSpec spec = raw(qwen2_vl());
  spec.patch_size = 1;
  spec.min_pixels = 1;
  // Each patch a pixel: 4 x 4 in blocks of 2 x 2, colours outermost, both frames the same.
  const Pixels pixels = process_pixels(spec, counted_image(4, 4));
  EXPECT_EQ(pixels.grids, (Grids{{4, 4}}));
  const std::vector<int> order = {0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15};
  std::vector<float> expected;
  for (const int at : order)
    for (const int color : {0, 100, 200}) expected.insert(expected.end(), 2, float(at + color));
  EXPECT_TRUE(same_bits(pixels.values, expected));

  spec.patch_size = 2;
  spec.merge_size = 1;
  spec.temporal_patch_size = 3;
  const Pixels larger = process_pixels(spec, counted_image(4, 2));
  EXPECT_EQ(larger.grids, (Grids{{1, 2}}));
  expected.clear();
  for (const int left : {0, 2})
    for (const int color : {0, 100, 200})
      for (int frame = 0; frame < 3; ++frame)
        for (const int at : {0, 1, 4, 5}) expected.push_back(float(left + at + color));
  EXPECT_TRUE(same_bits(larger.values, expected));
}

TEST(SmartResize, RefusesWhatCannotBeCutOrHeld) {
  ImageSpec spec = qwen2_vl();
  spec.do_resize = false;
  EXPECT_USER_ERROR(process_pixels(spec, plain_image(56, 57, 0)), "expected multiples of 28");
  EXPECT_EQ(process_pixels(spec, plain_image(56, 28, 0)).grids, (Grids{{2, 4}}));
  spec = qwen2_vl();
  spec.min_pixels = spec.max_pixels = int64_t(1) << 31;
  EXPECT_USER_ERROR(process_pixels(spec, plain_image(30, 30, 0)), "values; expected at most");
  spec.temporal_patch_size = 1;  // the values would fit, the pixels would not
  spec.min_pixels = spec.max_pixels = 200'000'000;
  EXPECT_USER_ERROR(process_pixels(spec, plain_image(30, 30, 0)), "expected 1 to 178956970 pixels");
  EXPECT_USER_ERROR(process_pixels(qwen2_vl(), Image{}), "0 x 0 pixels");
}

TEST(Tiles, EqualTheReferenceCasesInEveryBit) {
  const SafetensorsFile file = SafetensorsFile::open(kCases / "preprocess.safetensors");
  const Json facts = read_json(kCases / "preprocess.json").at("internvl");
  const int64_t side = facts["image_size"].get<int64_t>();
  for (int i = 0; i < 3; ++i) {
    const Json& fact = facts[std::to_string(i)];
    const Pixels pixels = process_pixels(internvl(side, 6, fact["max_num"].get<int64_t>()),
                                         image_of(file.at(fmt::format("image{}.u8_hwc", i))));
    EXPECT_TRUE(same_bits(pixels.values, file.at(fmt::format("internvl.{}", i)).floats())) << i;
    EXPECT_EQ(pixels.grids, Grids(fact["tiles"].get<size_t>(), {side / 6, side / 6})) << i;
  }
}

TEST(Tiles, EqualTheReferenceTable) {
  const Json table = read_json(kCases / "preprocess.json").at("internvl").at("tiling_table_448_max12");
  ASSERT_GE(table["rows"].size(), 9u);
  for (const Json& row : table["rows"]) {
    const auto numbers = row.get<std::vector<int64_t>>();
    EXPECT_EQ(tile_layout(internvl(448, 14, 12), numbers.at(0), numbers.at(1)),
              (TileLayout{numbers.at(2), numbers.at(3)}))
        << row;
  }
}

TEST(Tiles, OfEquallyNearLayoutsTheLargerNeedsHalfItsPixels) {
  const ImageSpec spec = internvl(448, 14, 12);
  // 1:1 fits 1, 4 and 9 tiles; nine need more than 0.5 * 448^2 * 9 = 903168 pixels, four more than 401408.
  EXPECT_EQ(tile_layout(spec, 951, 951), (TileLayout{3, 3}));
  EXPECT_EQ(tile_layout(spec, 950, 950), (TileLayout{2, 2}));
  EXPECT_EQ(tile_layout(spec, 634, 634), (TileLayout{2, 2}));
  EXPECT_EQ(tile_layout(spec, 633, 633), (TileLayout{1, 1}));
  ImageSpec few = spec;
  few.min_tiles = 5;
  EXPECT_EQ(tile_layout(few, 100, 100), (TileLayout{3, 3}));
  // 2:1 is as far from 3 x 1 tiles as from 2 x 2; exactly half of the latter's pixels is not more than half.
  ImageSpec between = internvl(14, 14, 4);
  between.min_tiles = 3;
  EXPECT_EQ(tile_layout(between, 28, 14), (TileLayout{3, 1}));
  EXPECT_EQ(tile_layout(between, 30, 15), (TileLayout{2, 2}));
}

TEST(Tiles, AreRowMajorWithTheThumbnailLast) {
  ImageSpec spec = raw(internvl(2, 1, 6));
  const Pixels pixels = process_pixels(spec, counted_image(6, 4));  // 3 x 2 tiles, nothing is resized
  EXPECT_EQ(pixels.grids, Grids(7, {2, 2}));
  ASSERT_EQ(pixels.values.size(), 7u * 12);
  std::vector<float> expected;
  for (const int corner : {0, 2, 4, 12, 14, 16})
    for (const int color : {0, 100, 200})
      for (const int at : {0, 1, 6, 7}) expected.push_back(float(corner + at + color));
  EXPECT_TRUE(same_bits({pixels.values.begin(), pixels.values.begin() + int64_t(6) * 12}, expected));
  const Image small = resize(counted_image(6, 4), 2, 2, 3);
  for (size_t c = 0; c < 3; ++c)
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(pixels.values[size_t(6) * 12 + c * 4 + i], small.rgb[3 * i + c]);

  spec.thumbnail = false;
  EXPECT_TRUE(same_bits(process_pixels(spec, counted_image(6, 4)).values, expected));
  spec.thumbnail = true;
  spec.max_tiles = 1;  // one tile needs no thumbnail
  EXPECT_EQ(process_pixels(spec, counted_image(6, 4)).grids, Grids(1, {2, 2}));
}

TEST(Tiles, PadFirst) {
  ImageSpec spec = raw(internvl(4, 2, 1));
  spec.pad_first = true;
  const Pixels pixels = process_pixels(spec, plain_image(4, 2, 9));
  // Rows 1 and 2 are the image, the others the mean's color.
  const std::array<float, 3> color = {123, 116, 103};
  for (size_t c = 0; c < 3; ++c)
    for (size_t i = 0; i < 16; ++i)
      EXPECT_EQ(pixels.values[c * 16 + i], (i / 4 == 1 || i / 4 == 2 ? 9 : color[c])) << c << " " << i;
}

TEST(Tiles, RefuseWhatCannotBeHeld) {
  EXPECT_USER_ERROR(process_pixels(internvl(16384, 1, 12), plain_image(30, 30, 0)), "30 x 30 pixels would become");
  EXPECT_USER_ERROR(process_pixels(internvl(448, 14, 12), Image{5, 0, {}}), "5 x 0 pixels");
  EXPECT_THROW(process_pixels(internvl(448, 14, 12), Image{5, 1, {}}), InternalError);
}

TEST(ProcessPixels, OfClipIsOnePictureWithItsGrid) {
  const SafetensorsFile file = SafetensorsFile::open(kCases / "preprocess.safetensors");
  ImageSpec spec = qwen2_vl();
  spec.resize = spec.crop_height = spec.crop_width = 42;
  for (const auto& [fit, name] : {std::pair{ImageSpec::Fit::ShortestEdgeCrop, "clip_hf.0"},
                                  std::pair{ImageSpec::Fit::PadToSquare, "clip_pad.0"}}) {
    spec.fit = fit;
    const Pixels pixels = process_pixels(spec, image_of(file.at("image0.u8_hwc")));
    EXPECT_TRUE(same_bits(pixels.values, file.at(name).floats())) << name;
    EXPECT_EQ(pixels.grids, (Grids{{3, 3}}));
  }
}

}  // namespace
}  // namespace yopo
