// preprocessor_config.json and config.json as image rules.
#include <gtest/gtest.h>

#include "core/error.h"
#include "models/family.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

using Fit = ImageSpec::Fit;

ImageSpec rules(const char* family, const Json& config, const std::string& where, const VisionSpec& vision) {
  return family_named(family).read_images(config, where, vision);
}
ImageSpec qwen2_vl(const Json& config) {
  VisionSpec vision;
  vision.patch_size = 14;
  vision.merge_size = vision.temporal_patch_size = 2;
  return rules("qwen2_vl", config, "preprocessor_config.json", vision);
}
ImageSpec clip(const Json& config, int64_t side) {
  VisionSpec vision;
  vision.image_size = side;
  vision.patch_size = 7;
  return rules("llava", config, "preprocessor_config.json", vision);
}
ImageSpec internvl(const Json& config) { return rules("internvl2", config, "config.json", {}); }

TEST(ImageSpec, OfQwen2VlWithoutAFileIsThePublishedOne) {
  const ImageSpec spec = qwen2_vl(Json());
  EXPECT_EQ(spec.fit, Fit::SmartResize);
  EXPECT_EQ(spec.patch_size, 14);
  EXPECT_EQ(spec.merge_size, 2);
  EXPECT_EQ(spec.temporal_patch_size, 2);
  EXPECT_EQ(spec.min_pixels, 3136);
  EXPECT_EQ(spec.max_pixels, 12845056);
  EXPECT_EQ(spec.mean, (std::array{0.48145466f, 0.4578275f, 0.40821073f}));
  EXPECT_EQ(spec.std, (std::array{0.26862954f, 0.26130258f, 0.27577711f}));
}

TEST(ImageSpec, OfQwen2VlTakesTheClassDefaultsForAbsentKeys) {
  const ImageSpec spec = qwen2_vl(Json::object());
  EXPECT_EQ(spec.min_pixels, 3136);
  EXPECT_EQ(spec.max_pixels, 1003520);
  EXPECT_EQ(spec.patch_size, 14);
  EXPECT_TRUE(spec.do_resize && spec.do_rescale && spec.do_normalize);
  EXPECT_EQ(spec.resample, 3);
  EXPECT_EQ(spec.rescale_factor, 1.0 / 255.0);
}

TEST(ImageSpec, OfQwen2VlReadsEveryKey) {
  const ImageSpec spec = qwen2_vl({{"min_pixels", 100},
                                   {"max_pixels", 200},
                                   {"patch_size", 7},
                                   {"merge_size", 3},
                                   {"temporal_patch_size", 1},
                                   {"image_mean", {0.1, 0.2, 0.3}},
                                   {"image_std", {1, 2, 3}},
                                   {"do_resize", false},
                                   {"do_rescale", false},
                                   {"do_normalize", false},
                                   {"resample", 2},
                                   {"rescale_factor", 0.5},
                                   {"size", {{"shortest_edge", 5}, {"longest_edge", 6}}}});
  EXPECT_EQ(spec.min_pixels, 100);  // before those of size
  EXPECT_EQ(spec.max_pixels, 200);
  EXPECT_EQ(spec.patch_size, 7);
  EXPECT_EQ(spec.merge_size, 3);
  EXPECT_EQ(spec.temporal_patch_size, 1);
  EXPECT_EQ(spec.mean, (std::array{0.1f, 0.2f, 0.3f}));
  EXPECT_EQ(spec.std, (std::array{1.0f, 2.0f, 3.0f}));
  EXPECT_FALSE(spec.do_resize || spec.do_rescale || spec.do_normalize);
  EXPECT_EQ(spec.resample, 2);
  EXPECT_EQ(spec.rescale_factor, 0.5);
}

TEST(ImageSpec, OfQwen2VlReadsBoundsFromSize) {
  for (const Json& size :
       {Json{{"shortest_edge", 500}, {"longest_edge", 600}}, Json{{"min_pixels", 500}, {"max_pixels", 600}}}) {
    const ImageSpec spec = qwen2_vl({{"size", size}});
    EXPECT_EQ(spec.min_pixels, 500);
    EXPECT_EQ(spec.max_pixels, 600);
  }
  EXPECT_EQ(qwen2_vl({{"size", {{"shortest_edge", 500}, {"longest_edge", 600}}}, {"min_pixels", 400}}).min_pixels, 400);
}

TEST(ImageSpec, OfQwen2VlRefusesAbsurdValues) {
  EXPECT_USER_ERROR(qwen2_vl({{"min_pixels", 0}}), "min_pixels");
  EXPECT_USER_ERROR(qwen2_vl({{"max_pixels", -5}}), "max_pixels");
  EXPECT_USER_ERROR(qwen2_vl({{"max_pixels", int64_t(1) << 32}}), "max_pixels");
  EXPECT_USER_ERROR(qwen2_vl({{"max_pixels", 1e300}}), "max_pixels");
  EXPECT_USER_ERROR(qwen2_vl({{"min_pixels", 300}, {"max_pixels", 200}}), "min_pixels 300 is above max_pixels 200");
  EXPECT_USER_ERROR(qwen2_vl({{"size", {{"shortest_edge", 56}}}}), "shortest_edge and longest_edge");
  EXPECT_USER_ERROR(qwen2_vl({{"size", 56}}), "size");
  EXPECT_USER_ERROR(qwen2_vl({{"size", {{"shortest_edge", 0}, {"longest_edge", 9}}}}), "shortest_edge");
  EXPECT_USER_ERROR(qwen2_vl({{"patch_size", 0}}), "patch_size");
  EXPECT_USER_ERROR(qwen2_vl({{"patch_size", int64_t(1) << 40}}), "patch_size");
  EXPECT_USER_ERROR(qwen2_vl({{"patch_size", 1024}, {"merge_size", 64}}), "patch_size 1024 times merge_size 64");
  EXPECT_USER_ERROR(qwen2_vl({{"merge_size", -1}}), "merge_size");
  EXPECT_USER_ERROR(qwen2_vl({{"temporal_patch_size", 0}}), "temporal_patch_size");
  EXPECT_USER_ERROR(qwen2_vl({{"image_mean", {0.5, 0.5}}}), "image_mean: expected 3 numbers");
  EXPECT_USER_ERROR(qwen2_vl({{"image_mean", {0.5, 0.5, "x"}}}), "image_mean");
  EXPECT_USER_ERROR(qwen2_vl({{"image_mean", {0.5, 0.5, 1e300}}}), "image_mean");
  EXPECT_USER_ERROR(qwen2_vl({{"image_std", {0.5, 0.5, 0.0}}}), "image_std");
  EXPECT_USER_ERROR(qwen2_vl({{"rescale_factor", 1e300}}), "rescale_factor");
  EXPECT_USER_ERROR(qwen2_vl({{"resample", 1}}), "resample");
  EXPECT_USER_ERROR(qwen2_vl({{"do_resize", 1}}), "do_resize");
  EXPECT_USER_ERROR(qwen2_vl(Json::array()), "expected a JSON object");
}

TEST(ImageSpec, OfInternVlReadsEveryKey) {
  const ImageSpec plain = internvl(Json::object());
  EXPECT_EQ(plain.fit, Fit::Tiles);
  EXPECT_EQ(plain.tile_size, 448);
  EXPECT_EQ(plain.patch_size, 14);
  EXPECT_EQ(plain.min_tiles, 1);
  EXPECT_EQ(plain.max_tiles, 12);
  EXPECT_TRUE(plain.thumbnail);
  EXPECT_FALSE(plain.pad_first);
  EXPECT_EQ(plain.mean, (std::array{0.485f, 0.456f, 0.406f}));
  EXPECT_EQ(plain.std, (std::array{0.229f, 0.224f, 0.225f}));

  const ImageSpec spec = internvl({{"force_image_size", 56},
                                   {"min_dynamic_patch", 2},
                                   {"max_dynamic_patch", 6},
                                   {"dynamic_image_size", true},
                                   {"use_thumbnail", false},
                                   {"pad2square", true},
                                   {"vision_config", {{"image_size", 224}, {"patch_size", 28}}}});
  EXPECT_EQ(spec.tile_size, 56);
  EXPECT_EQ(spec.patch_size, 28);
  EXPECT_EQ(spec.min_tiles, 2);
  EXPECT_EQ(spec.max_tiles, 6);
  EXPECT_FALSE(spec.thumbnail);
  EXPECT_FALSE(spec.pad_first);  // tiles are square as they are
  EXPECT_EQ(internvl({{"vision_config", {{"image_size", 224}}}}).tile_size, 224);
  EXPECT_EQ(internvl({{"force_image_size", nullptr}, {"vision_config", {{"image_size", 224}}}}).tile_size, 224);

  const ImageSpec whole = internvl({{"dynamic_image_size", false}, {"pad2square", true}});
  EXPECT_EQ(whole.min_tiles, 1);
  EXPECT_EQ(whole.max_tiles, 1);
  EXPECT_TRUE(whole.pad_first);
  EXPECT_FALSE(internvl({{"dynamic_image_size", false}}).pad_first);
}

TEST(ImageSpec, OfInternVlRefusesAbsurdValues) {
  EXPECT_USER_ERROR(internvl({{"force_image_size", 0}}), "force_image_size");
  EXPECT_USER_ERROR(internvl({{"force_image_size", -448}}), "force_image_size");
  EXPECT_USER_ERROR(internvl({{"force_image_size", int64_t(1) << 40}}), "force_image_size");
  EXPECT_USER_ERROR(internvl({{"force_image_size", 449}}), "449 is no multiple of patch_size 14");
  EXPECT_USER_ERROR(internvl({{"vision_config", {{"patch_size", 0}}}}), "vision_config");
  EXPECT_USER_ERROR(internvl({{"vision_config", 3}}), "vision_config");
  EXPECT_USER_ERROR(internvl({{"min_dynamic_patch", 0}}), "min_dynamic_patch");
  EXPECT_USER_ERROR(internvl({{"max_dynamic_patch", -1}}), "max_dynamic_patch");
  EXPECT_USER_ERROR(internvl({{"max_dynamic_patch", int64_t(1) << 40}}), "max_dynamic_patch");
  EXPECT_USER_ERROR(internvl({{"min_dynamic_patch", 7}, {"max_dynamic_patch", 6}}), "min_dynamic_patch 7 is above");
  EXPECT_USER_ERROR(internvl({{"max_dynamic_patch", 1000}}),
                    "at most 178956970 pixels in all, found 1000 of 448 x 448");
  EXPECT_USER_ERROR(internvl({{"use_thumbnail", 1}}), "use_thumbnail");
  EXPECT_USER_ERROR(internvl({{"pad2square", "yes"}}), "pad2square");
  EXPECT_USER_ERROR(internvl(Json(3)), "config.json: expected a JSON object");
}

TEST(ImageSpec, OfClipReadsBothSpellings) {
  const ImageSpec spec =
      clip({{"size", 30}, {"crop_size", {{"height", 28}, {"width", 28}}}, {"do_center_crop", false}}, 28);
  EXPECT_EQ(spec.fit, Fit::ShortestEdgeCrop);
  EXPECT_EQ(spec.resize, 30);
  EXPECT_EQ(spec.crop_width, 28);
  EXPECT_EQ(spec.patch_size, 7);
  EXPECT_FALSE(spec.do_center_crop);
  EXPECT_EQ(clip({{"size", {{"shortest_edge", 31}}}}, 28).resize, 31);
  EXPECT_USER_ERROR(clip({{"size", {{"height", 31}}}}, 28), "expected shortest_edge");
  EXPECT_USER_ERROR(clip({{"crop_size", 29}}, 28), "contradicts the vision tower's image_size 28");
  EXPECT_USER_ERROR(clip({{"image_std", {1, -1, 1}}}, 28), "image_std");
  EXPECT_USER_ERROR(clip(Json::array(), 28), "expected a JSON object");
}

}  // namespace
}  // namespace yopo
