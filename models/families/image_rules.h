// The image processor of a checkpoint, from whichever of its files says it.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "core/known_keys.h"
#include "images/spec.h"

namespace yopo {

constexpr int64_t kLargestSide = 16384;                                             // of an image, in pixels
constexpr std::array<float, 3> kClipMean = {0.48145466f, 0.4578275f, 0.40821073f};  // OPENAI_CLIP_MEAN
constexpr std::array<float, 3> kClipStd = {0.26862954f, 0.26130258f, 0.27577711f};

struct ImageRules {
  Json values;        // null where no file says anything
  std::string where;  // the file, and the place in it
  ImageBackend backend = ImageBackend::Pil;
};

/// The first of `folders` that says something decides: its processor_config.json with an object image_processor, which
/// transformers 5 writes and prefers, or its preprocessor_config.json. A remark where both are there and differ, and
/// where there is neither: then defaults are taken, those of `defaults` (named in it).
///
/// The backend: `image_processor_type` that ends with Fast is torchvision's, with Pil Pillow's; without either it is
/// what the version that wrote the file takes by itself: torchvision in processor_config.json (transformers 5), Pillow
/// in preprocessor_config.json (transformers 4). `backend` in the file goes before.
ImageRules find_image_rules(const std::vector<fs::path>& folders, const std::string& defaults);

/// What all image processors say the same way: the steps, the filter and the normalisation.
void read_image_steps(const Json& rules, const std::string& where, ImageSpec& image);

}  // namespace yopo
