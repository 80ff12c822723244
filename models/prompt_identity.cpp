#include "models/prompt_identity.h"

#include <vector>

#include "core/file.h"
#include "models/prompt.h"

namespace yopo {

namespace {

/// Every field, wherever the rules came from; a field that is new does not compile until it stands here.
std::string rules_of(const ImageSpec& spec) {
  const auto& [fit, patch, resize, crop_height, crop_width, merge, temporal, min_pixels, max_pixels, tile, min_tiles,
               max_tiles, thumbnail, pad_first, resolutions, max_grids, single_tile, do_resize, do_center_crop,
               do_rescale, do_normalize, exif_transpose, resample, rescale_factor, mean, std, pad_color, backend] =
      spec;
  std::string canvases;  // as before where there are none
  for (const auto& [height, width] : resolutions) canvases += fmt::format(" {}x{}", height, width);
  if (!canvases.empty()) canvases += fmt::format(" {} {}", max_grids, single_tile);
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {} {}{}", int(fit), patch,
                     resize, crop_height, crop_width, merge, temporal, min_pixels, max_pixels, tile, min_tiles,
                     max_tiles, thumbnail, pad_first, do_resize, do_center_crop, do_rescale, do_normalize,
                     exif_transpose, resample, rescale_factor, fmt::join(mean, ","), fmt::join(std, ","),
                     fmt::join(pad_color, ","), int(backend), canvases);
}

}  // namespace

std::string prompt_fingerprint(const OpenModel& model, const PromptOptions& options) {
  std::vector<std::string> names{"tokenizer.json",        "tokenizer.model",         "vocab.json",       "merges.txt",
                                 "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"};
  // processor_config.json may hold a template; its image rules are among those below.
  if (options.chat_template.empty())
    names.insert(names.end(), {"chat_template.jinja", "chat_template.json", "processor_config.json"});
  Fingerprint key;
  for (const std::string& name : names)
    if (const fs::path file = model.checkpoint.folder() / name; fs::exists(file)) key.add(name).add_file(file);
  key.add(rules_of(model.spec.image)).add(fmt::format("{}", fmt::join(model.spec.eos_token_ids, ",")));
  return key.hex();
}

}  // namespace yopo
