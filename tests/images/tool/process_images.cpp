// process_images [--upright] RULES FILE OUTPUT IMAGE...: the pixels of image files, for comparison with the reference
// processors. RULES is clip or pad or qwen2_vl (FILE: preprocessor_config.json), internvl (FILE: config.json) or folder
// (FILE: a checkpoint folder, by its own files). The file's "backend" says whose arithmetic. OUTPUT, a safetensors
// file, gets "pixels.K" and "grids.K" of image K. --upright turns images as their Exif blocks say. Exit code 2 and a
// message where an image or file is refused.
#include <cstdio>
#include <exception>

#include "core/error.h"
#include "core/json.h"
#include "formats/safetensors.h"
#include "images/processor.h"
#include "models/family.h"

namespace {

using namespace yopo;

ImageSpec rules(const std::string& name, const fs::path& file) {
  if (name == "folder") return read_spec(Checkpoint::open(file)).image;
  const Json json = read_json(file);
  VisionSpec vision;
  vision.patch_size = 1;
  if (name == "qwen2_vl") {
    ImageSpec spec = family_named("qwen2_vl").read_images(json, file.string(), vision);
    if (json.value("backend", "") == "torchvision") spec.backend = ImageBackend::Torchvision;
    return spec;
  }
  if (name == "internvl") return family_named("internvl2").read_images(json, file.string(), vision);
  require(name == "clip" || name == "pad", "no rules '{}'", name);
  vision.image_size = json.at("crop_size").at("height").get<int64_t>();
  ImageSpec spec = family_named("llava").read_images(json, file.string(), vision);
  if (json.value("backend", "") == "torchvision") spec.backend = ImageBackend::Torchvision;
  if (name == "pad") spec.fit = ImageSpec::Fit::PadToSquare;
  return spec;
}

/// [patches, row], or [pictures, 3, height, width] as the grids say.
std::vector<int64_t> shape_of(const ImageSpec& spec, const Pixels& pixels) {
  const auto [rows, columns] = pixels.grids.at(0);
  if (spec.fit == ImageSpec::Fit::SmartResize)
    return {rows * columns, int64_t(pixels.values.size()) / (rows * columns)};
  // A tile may be larger than its whole patches.
  if (spec.fit == ImageSpec::Fit::AnyRes) return {int64_t(pixels.grids.size()), 3, spec.tile_size, spec.tile_size};
  return {int64_t(pixels.grids.size()), 3, rows * spec.patch_size, columns * spec.patch_size};
}

void run(std::vector<std::string> arguments) {
  const bool upright = !arguments.empty() && arguments[0] == "--upright";
  if (upright) arguments.erase(arguments.begin());
  require(arguments.size() >= 4, "usage: process_images [--upright] RULES FILE OUTPUT IMAGE...");
  ImageSpec spec = rules(arguments[0], arguments[1]);
  spec.exif_transpose = upright;
  std::map<std::string, OwnedTensor> tensors;
  for (size_t k = 3; k < arguments.size(); ++k) {
    const Pixels pixels = process_pixels(spec, read_image(arguments[k], ""));
    std::vector<int64_t> grids;
    for (const auto& [rows, columns] : pixels.grids) grids.insert(grids.end(), {rows, columns});
    tensors[fmt::format("pixels.{}", k - 3)] = OwnedTensor::of(shape_of(spec, pixels), pixels.values);
    tensors[fmt::format("grids.{}", k - 3)] = OwnedTensor::of({int64_t(pixels.grids.size()), 2}, grids);
  }
  write_safetensors(arguments[2], tensors);
}

}  // namespace

int main(int count, char** values) {
  try {
    run({values + 1, values + count});
  } catch (const UserError& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "internal error: %s\n", error.what());
    return 3;
  }
  return 0;
}
