#include "formats/safetensors.h"
#include "images/processor.h"

#include <gtest/gtest.h>

#include <cstring>

#include "core/error.h"
#include "core/json.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using testing::close;

const fs::path kData = YOPO_TEST_DATA;

Image image_of(const TensorView& view) {
  EXPECT_EQ(view.dtype, DType::U8);
  const uint8_t* bytes = view.data<uint8_t>();
  return {view.shape.at(1), view.shape.at(0), {bytes, bytes + view.bytes.size()}};
}

Image plain_image(int64_t width, int64_t height, uint8_t value) {
  return {width, height, std::vector<uint8_t>(size_t(width * height * 3), value)};
}

/// CLIP's own settings, as transformers' CLIPImageProcessor has them without a config.
ImageSpec clip(int64_t side) {
  ImageSpec spec;
  spec.resize = spec.crop_height = spec.crop_width = side;
  spec.mean = {0.48145466f, 0.4578275f, 0.40821073f};
  spec.pad_color = {122, 116, 104};
  spec.std = {0.26862954f, 0.26130258f, 0.27577711f};
  return spec;
}

/// The very bits: also -0 and 0 differ.
::testing::AssertionResult same_bits(const std::vector<float>& actual, const std::vector<float>& expected) {
  if (auto near = close(actual, expected, 0); !near) return near;
  if (std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)) == 0)
    return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "equal, but not in every bit";
}

TEST(ImageProcessor, EqualsTheReferenceCasesInEveryBit) {
  const SafetensorsFile file = SafetensorsFile::open(kData / "fixtures/preprocess/preprocess.safetensors");
  for (int i = 0; i < 3; ++i) {
    const Image image = image_of(file.at(fmt::format("image{}.u8_hwc", i)));
    ImageSpec spec = clip(42);
    EXPECT_TRUE(same_bits(process_image(spec, image), file.at(fmt::format("clip_hf.{}", i)).floats()))
        << "clip_hf " << i;
    spec.fit = ImageSpec::Fit::PadToSquare;
    EXPECT_TRUE(same_bits(process_image(spec, image), file.at(fmt::format("clip_pad.{}", i)).floats()))
        << "clip_pad " << i;
  }
}

TEST(ImageProcessor, EqualsTheReferenceUnderEverySetting) {
  const SafetensorsFile file = SafetensorsFile::open(kData / "images/process.safetensors");
  const Json settings = read_json(kData / "images/process.json");
  ASSERT_GE(settings.size(), 14u);
  for (size_t k = 0; k < settings.size(); ++k) {
    const Json& given = settings[k];
    ImageSpec spec = clip(given["size"].get<int64_t>());
    spec.crop_height = spec.crop_width = given["crop"].get<int64_t>();
    spec.resample = given.value("resample", 3);
    spec.do_resize = given.value("do_resize", true);
    spec.do_center_crop = given.value("do_center_crop", true);
    spec.do_rescale = given.value("do_rescale", true);
    spec.do_normalize = given.value("do_normalize", true);
    spec.rescale_factor = given.value("rescale_factor", 1 / 255.0);
    const std::vector<float> actual = process_image(spec, image_of(file.at(fmt::format("{:02}.in", k))));
    EXPECT_TRUE(same_bits(actual, file.at(fmt::format("{:02}.out", k)).floats())) << given.dump();
  }
}

TEST(Resize, EqualsPillowInEveryByte) {
  const SafetensorsFile file = SafetensorsFile::open(kData / "images/resize.safetensors");
  int count = 0;
  for (const auto& [name, view] : file.tensors()) {
    if (name.find(".out.") == std::string::npos) continue;
    const Image expected = image_of(view);
    const Image actual =
        resize(image_of(file.at(name.substr(0, 2) + ".in")), expected.width, expected.height, name.back() - '0');
    EXPECT_TRUE(close(actual.rgb, expected.rgb, 0)) << name;
    ++count;
  }
  EXPECT_EQ(count, 26);
}

TEST(Resize, KeepsAPlainColor) {
  for (const int filter : {2, 3})
    for (const auto& [width, height] : std::vector<std::pair<int64_t, int64_t>>{{3, 90}, {50, 50}, {1, 1}, {7, 200}})
      EXPECT_TRUE(
          close(resize(plain_image(50, 50, 77), width, height, filter).rgb, plain_image(width, height, 77).rgb, 0));
}

TEST(PadToSquare, CentresOnTheMean) {
  const std::array<uint8_t, 3> color = {122, 116, 104};
  const Image wide = pad_to_square(plain_image(4, 1, 9), color);
  EXPECT_EQ(wide.width, 4);
  EXPECT_EQ(wide.height, 4);
  // (4 - 1) / 2 = 1 row above.
  for (size_t i = 0; i < wide.rgb.size(); ++i) EXPECT_EQ(wide.rgb[i], i / 12 == 1 ? 9 : color[i % 3]) << i;
  const Image tall = pad_to_square(plain_image(1, 4, 9), color);
  for (size_t i = 0; i < tall.rgb.size(); ++i) EXPECT_EQ(tall.rgb[i], i / 3 % 4 == 1 ? 9 : color[i % 3]) << i;
  EXPECT_EQ(pad_to_square(plain_image(5, 5, 9), color).rgb, plain_image(5, 5, 9).rgb);
}

TEST(CenterCrop, CutsAndPads) {
  Image image = plain_image(3, 1, 0);
  image.rgb = {1, 1, 1, 2, 2, 2, 3, 3, 3};
  const auto row = [](const Image& cropped) {
    std::vector<int> values;
    for (size_t i = 0; i < cropped.rgb.size(); i += 3) values.push_back(cropped.rgb[i]);
    return values;
  };
  EXPECT_EQ(row(center_crop(image, 1, 1)), (std::vector<int>{2}));
  EXPECT_EQ(row(center_crop(image, 1, 2)), (std::vector<int>{1, 2}));
  EXPECT_EQ(row(center_crop(image, 1, 4)), (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(row(center_crop(image, 1, 5)), (std::vector<int>{0, 1, 2, 3, 0}));
  EXPECT_EQ(row(center_crop(image, 2, 1)), (std::vector<int>{0, 2}));
}

TEST(ImageProcessor, RefusesWhatWouldNotFitInMemory) {
  EXPECT_USER_ERROR(process_image(clip(336), plain_image(1, 2'000'000, 0)), "336 x 672000000");
  EXPECT_USER_ERROR(pad_to_square(plain_image(1, 20'000, 0), {0, 0, 0}), "20000 x 20000");
  EXPECT_USER_ERROR(resize(plain_image(2, 2, 0), 0, 5, 3), "0 x 5");
  EXPECT_THROW(resize(Image{2, 2, {1, 2, 3}}, 1, 1, 3), InternalError);
}

}  // namespace
}  // namespace yopo
