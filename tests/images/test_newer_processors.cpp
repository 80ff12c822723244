// The image processors of the newer families against transformers' on Pillow and on torchvision: in every bit.
#include <gtest/gtest.h>

#include <cstring>

#include "core/json.h"
#include "formats/safetensors.h"
#include "images/anyres.h"
#include "images/processor.h"
#include "models/family.h"
#include "tests/support/close.h"
#include "tests/support/temporary.h"

namespace yopo {
namespace {

const fs::path kCases = fs::path(YOPO_TEST_DATA) / "fixtures/preprocess_more";

/// The rules of one entry of preprocess.json by the reader of its family.
ImageSpec rules_of(const std::string& name, Json given) {
  VisionSpec vision;
  vision.class_token = name == "llava_next";
  vision.patch_size = 1;
  if (name.starts_with("qwen")) {
    vision.image_size = 0;
    vision.merge_size = 2;
    return family_named("qwen2_vl").read_images(given, name, vision);
  }
  const char* key = has(given["size"], "height") ? "height" : "shortest_edge";
  vision.image_size = given["size"][key].get<int64_t>();
  if (!name.starts_with("internvl")) return family_named(name).read_images(given, name, vision);
  ImageSpec spec = family_named("internvl3").read_images(given, name, vision);
  if (given["crop_to_patches"] == false) spec.max_tiles = 1;  // what no processor of InternVL3 asks for
  return spec;
}

TEST(NewerProcessors, EqualTheReferencesInEveryBit) {
  const Json cases = read_json(kCases / "preprocess.json");
  const SafetensorsFile file = SafetensorsFile::open(kCases / "preprocess.safetensors");
  int compared = 0;
  for (const auto& [name, entry] : cases.items()) {
    if (!entry.is_object() || !entry.contains("params")) continue;
    for (const ImageBackend backend : {ImageBackend::Pil, ImageBackend::Torchvision}) {
      ImageSpec spec = rules_of(name, entry["params"]);
      spec.backend = backend;
      for (int i = 0; i < 5; ++i) {
        const std::string run = fmt::format("{}.{}.{}", name, i, backend == ImageBackend::Pil ? "pil" : "torchvision");
        SCOPED_TRACE(run);
        const TensorView& view = file.at(fmt::format("image{}.u8_hwc", i));
        const uint8_t* bytes = view.data<uint8_t>();
        const Pixels found = process_pixels(spec, {view.shape[1], view.shape[0], {bytes, bytes + view.bytes.size()}});
        const std::vector<float> expected = file.at(run).floats();
        ASSERT_TRUE(testing::close(found.values, expected, 0));
        EXPECT_EQ(std::memcmp(found.values.data(), expected.data(), expected.size() * sizeof(float)), 0);
        ++compared;
      }
    }
  }
  EXPECT_EQ(compared, 7 * 2 * 5);
}

TEST(AnyRes, TheCanvasThatShowsMostAndWastesLeast) {
  ImageSpec spec;
  spec.resolutions = {{336, 672}, {672, 336}, {672, 672}, {1008, 336}, {336, 1008}};
  const auto best = [&](int64_t height, int64_t width) { return best_resolution(spec, height, width); };
  const auto canvas = [](int64_t height, int64_t width) { return std::array<int64_t, 2>{height, width}; };
  EXPECT_EQ(best(500, 500), canvas(672, 672));
  EXPECT_EQ(best(100, 300), canvas(336, 672))
      << "all of it is shown on each: one that wastes least, of these the first";
  EXPECT_EQ(best(100, 100), canvas(336, 672)) << "equally good: the first";
  EXPECT_EQ(best(2000, 500), canvas(1008, 336));
}

}  // namespace
}  // namespace yopo
