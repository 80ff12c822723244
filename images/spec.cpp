#include "images/spec.h"

#include <cmath>

#include "core/error.h"
#include "images/image.h"

namespace yopo {

namespace {

constexpr int64_t kLargestSide = 16384;
constexpr std::array<float, 3> kClipMean = {0.48145466f, 0.4578275f, 0.40821073f};  // OPENAI_CLIP_MEAN
constexpr std::array<float, 3> kClipStd = {0.26862954f, 0.26130258f, 0.27577711f};
constexpr std::array<float, 3> kImageNetMean = {0.485f, 0.456f, 0.406f};
constexpr std::array<float, 3> kImageNetStd = {0.229f, 0.224f, 0.225f};

/// What every preprocessor_config.json says the same way: the steps, the filter and the normalisation.
void read_common(const Json& config, const std::string& where, ImageSpec& image) {
  image.do_resize = get_bool_or(config, "do_resize", where, true);
  image.do_rescale = get_bool_or(config, "do_rescale", where, true);
  image.do_normalize = get_bool_or(config, "do_normalize", where, true);
  image.resample = int(get_int_or(config, "resample", where, 0, 5, 3));
  require(image.resample == 2 || image.resample == 3, "{}: resample: expected 2 (bilinear) or 3 (bicubic), found {}",
          where, image.resample);
  image.rescale_factor = get_number_or(config, "rescale_factor", where, 1.0 / 255.0);
  require(std::abs(image.rescale_factor) <= 1e6, "{}: rescale_factor: expected at most 1e6, found {}", where,
          image.rescale_factor);
  for (const char* key : {"image_mean", "image_std"}) {
    if (!has(config, key)) continue;
    const Json& values = get_array(config, key, where);
    require(values.size() == 3, "{}: {}: expected 3 numbers, found {}", where, key, values.size());
    for (size_t c = 0; c < 3; ++c) {
      require(values[c].is_number(), "{}: {}: expected numbers, found {}", where, key, values[c].dump());
      require(std::abs(values[c].get<double>()) <= 1e6, "{}: {}: expected numbers up to 1e6, found {}", where, key,
              values[c].dump());
      (std::string(key) == "image_mean" ? image.mean : image.std)[c] = values[c].get<float>();
    }
  }
  for (float deviation : image.std)
    require(deviation > 0, "{}: image_std: must be above 0, found {}", where, deviation);
}

/// The bound of Qwen2-VL's `size` object, by either name that transformers has written.
int64_t bound_of(const Json& size, const char* name, const char* older, const std::string& where, int64_t limit,
                 int64_t fallback) {
  return get_int_or(size, has(size, name) ? name : older, where + ": size", 1, limit, fallback);
}

}  // namespace

ImageSpec clip_image_spec(const fs::path& file, int64_t side) {
  ImageSpec image;
  image.resize = image.crop_height = image.crop_width = side;
  image.mean = kClipMean;
  image.std = kClipStd;
  if (!fs::exists(file)) return image;
  const Json config = read_json(file);
  const std::string where = file.string();
  // Only the shape the tower takes makes sense; both spellings of transformers ({"shortest_edge": n} and n) are read.
  const auto edge = [&](const char* key, const char* part, int64_t fallback) {
    if (!has(config, key)) return fallback;
    if (config[key].is_object()) return get_int_or(config[key], part, where + ": " + key, 1, kLargestSide, fallback);
    return get_int(config, key, where, 1, kLargestSide);
  };
  if (has(config, "size") && config["size"].is_object())
    require(has(config["size"], "shortest_edge"), "{}: size: expected shortest_edge, found {}", where,
            config["size"].dump());
  image.resize = edge("size", "shortest_edge", side);
  image.crop_height = edge("crop_size", "height", side);
  image.crop_width = edge("crop_size", "width", side);
  image.do_center_crop = get_bool_or(config, "do_center_crop", where, true);
  read_common(config, where, image);
  require(image.crop_height == side && image.crop_width == side,
          "{}: crop_size {} x {} contradicts the vision tower's image_size {}", where, image.crop_height,
          image.crop_width, side);
  return image;
}

ImageSpec qwen2_vl_image_spec(const fs::path& file) {
  constexpr int64_t kMostPixels = int64_t(1) << 31;
  ImageSpec image;
  image.fit = ImageSpec::Fit::SmartResize;
  image.patch_size = 14;
  image.merge_size = 2;
  image.temporal_patch_size = 2;
  image.min_pixels = 56 * 56;
  image.max_pixels = 12'845'056;
  image.mean = kClipMean;
  image.std = kClipStd;
  if (!fs::exists(file)) return image;
  const Json config = read_json(file);
  const std::string where = file.string();
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  image.max_pixels = 28 * 28 * 1280;
  if (has(config, "size")) {
    const Json& size = get_object(config, "size", where);
    const bool bounds = (has(size, "shortest_edge") && has(size, "longest_edge")) ||
                        (has(size, "min_pixels") && has(size, "max_pixels"));
    require(bounds || (has(config, "min_pixels") && has(config, "max_pixels")),
            "{}: size: expected shortest_edge and longest_edge, found {}", where, printable(size.dump()));
    image.min_pixels = bound_of(size, "shortest_edge", "min_pixels", where, kMostPixels, image.min_pixels);
    image.max_pixels = bound_of(size, "longest_edge", "max_pixels", where, kMostPixels, image.max_pixels);
  }
  image.min_pixels = get_int_or(config, "min_pixels", where, 1, kMostPixels, image.min_pixels);
  image.max_pixels = get_int_or(config, "max_pixels", where, 1, kMostPixels, image.max_pixels);
  require(image.min_pixels <= image.max_pixels, "{}: min_pixels {} is above max_pixels {}", where, image.min_pixels,
          image.max_pixels);
  image.patch_size = get_int_or(config, "patch_size", where, 1, 1024, 14);
  image.merge_size = get_int_or(config, "merge_size", where, 1, 64, 2);
  image.temporal_patch_size = get_int_or(config, "temporal_patch_size", where, 1, 64, 2);
  const int64_t factor = image.patch_size * image.merge_size;
  require(factor <= kLargestSide / 2, "{}: patch_size {} times merge_size {}: expected at most {}", where,
          image.patch_size, image.merge_size, kLargestSide / 2);
  read_common(config, where, image);
  return image;
}

ImageSpec internvl_image_spec(const Json& config, const std::string& where) {
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  ImageSpec image;
  image.fit = ImageSpec::Fit::Tiles;
  image.mean = kImageNetMean;
  image.std = kImageNetStd;
  image.tile_size = 448;
  image.patch_size = 14;
  if (has(config, "vision_config")) {
    const Json& vision = get_object(config, "vision_config", where);
    const std::string place = where + ": vision_config";
    image.tile_size = get_int_or(vision, "image_size", place, 1, kLargestSide, 448);
    image.patch_size = get_int_or(vision, "patch_size", place, 1, kLargestSide, 14);
  }
  image.tile_size = get_int_or(config, "force_image_size", where, 1, kLargestSide, image.tile_size);
  require(image.tile_size % image.patch_size == 0, "{}: an image size of {} is no multiple of patch_size {}", where,
          image.tile_size, image.patch_size);
  const bool dynamic = get_bool_or(config, "dynamic_image_size", where, true);
  image.min_tiles = get_int_or(config, "min_dynamic_patch", where, 1, 4096, 1);
  image.max_tiles = get_int_or(config, "max_dynamic_patch", where, 1, 4096, 12);
  require(image.min_tiles <= image.max_tiles, "{}: min_dynamic_patch {} is above max_dynamic_patch {}", where,
          image.min_tiles, image.max_tiles);
  const bool pad = get_bool_or(config, "pad2square", where, false);
  image.thumbnail = get_bool_or(config, "use_thumbnail", where, true);
  if (!dynamic) {
    image.min_tiles = image.max_tiles = 1;
    image.pad_first = pad;
  }
  require(image.max_tiles <= kLargestImage / image.tile_size / image.tile_size,
          "{}: max_dynamic_patch: expected tiles of at most {} pixels in all, found {} of {} x {}", where,
          kLargestImage, image.max_tiles, image.tile_size, image.tile_size);
  return image;
}

}  // namespace yopo
