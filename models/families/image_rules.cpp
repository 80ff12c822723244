#include "models/families/image_rules.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/remarks.h"
#include "models/families/common_keys.h"

namespace yopo {

namespace {

ImageBackend backend_of(const Json& rules, const std::string& where, ImageBackend otherwise) {
  if (!rules.is_object()) return otherwise;  // its reader says so
  if (has(rules, "backend")) {
    const std::string name = get_string(rules, "backend", where);
    require(name == "pil" || name == "torchvision", "{}: backend: expected pil or torchvision, found '{}'{}", where,
            printable(name), did_you_mean(name, {"pil", "torchvision"}));
    return name == "pil" ? ImageBackend::Pil : ImageBackend::Torchvision;
  }
  const std::string type = get_string_or(rules, "image_processor_type", where, "");
  if (type.ends_with("Fast")) return ImageBackend::Torchvision;
  return type.ends_with("Pil") ? ImageBackend::Pil : otherwise;
}

/// Without what says only who wrote it.
Json settings(Json rules) {
  if (rules.is_object())
    for (const char* key :
         {"image_processor_type", "processor_class", "feature_extractor_type", "_valid_processor_keys", "auto_map"})
      rules.erase(key);
  return rules;
}

/// Same keys with the same values, in whatever order; what is null is absent.
bool same_settings(const Json& a, const Json& b) {
  if (!a.is_object() || !b.is_object()) return a == b;
  const auto within = [](const Json& x, const Json& y) {
    return std::all_of(x.items().begin(), x.items().end(), [&](const auto& item) {
      return item.value().is_null() || (has(y, item.key()) && same_settings(item.value(), y.at(item.key())));
    });
  };
  return within(a, b) && within(b, a);
}

std::optional<ImageRules> rules_in(const fs::path& folder) {
  const fs::path nested = folder / "processor_config.json", plain = folder / "preprocessor_config.json";
  std::optional<ImageRules> found;
  if (fs::exists(plain)) {
    found = {read_json(plain), plain.string(), {}};
    found->backend = backend_of(found->values, found->where, ImageBackend::Pil);
  }
  if (!fs::exists(nested)) return found;
  const Json processor = read_json(nested);
  check_keys(processor, processor_reader(), nested.string());
  if (!has(processor, "image_processor")) return found;
  ImageRules inner{processor["image_processor"], nested.string() + ": image_processor", {}};
  inner.backend = backend_of(inner.values, inner.where, ImageBackend::Torchvision);
  if (found && !same_settings(settings(found->values), settings(inner.values)))
    remark(fmt::format("{}: says another thing than {}, which is taken, as transformers 5 does", found->where,
                       inner.where));
  return inner;
}

}  // namespace

ImageRules find_image_rules(const std::vector<fs::path>& folders, const std::string& defaults) {
  for (const fs::path& folder : folders)
    if (std::optional<ImageRules> found = rules_in(folder)) return *std::move(found);
  const fs::path missing = folders.front() / "preprocessor_config.json";
  remark(fmt::format("{}: not there, nor a processor_config.json with an image_processor: images are prepared by {}",
                     missing.string(), defaults));
  return {Json(), missing.string(), ImageBackend::Pil};
}

void read_image_steps(const Json& config, const std::string& where, ImageSpec& image) {
  image.do_resize = get_bool_or(config, "do_resize", where, true);
  image.do_rescale = get_bool_or(config, "do_rescale", where, true);
  image.do_normalize = get_bool_or(config, "do_normalize", where, true);
  image.resample = int(get_int_or(config, "resample", where, 0, 5, 3));
  require(image.resample == 2 || image.resample == 3, "{}: resample: expected 2 (bilinear) or 3 (bicubic), found {}",
          where, image.resample);
  image.rescale_factor = get_number_or(config, "rescale_factor", where, 1.0 / 255.0);
  require(image.rescale_factor != 0 && std::abs(image.rescale_factor) <= 1e6,
          "{}: rescale_factor: expected at most 1e6 and not 0, found {}", where, image.rescale_factor);
  for (const char* key : {"image_mean", "image_std"}) {
    if (!has(config, key)) continue;
    const Json& values = get_array(config, key, where);
    require(values.size() == 3, "{}: {}: expected 3 numbers, found {}", where, key, values.size());
    const bool mean = std::string(key) == "image_mean";
    for (size_t c = 0; c < 3; ++c) {
      require(values[c].is_number(), "{}: {}: expected numbers, found {}", where, key, printable(values[c].dump()));
      const auto value = values[c].get<double>();
      require(std::abs(value) <= 1e6, "{}: {}: expected numbers up to 1e6, found {}", where, key, value);
      (mean ? image.mean : image.std)[c] = float(value);
      if (mean) image.pad_color[c] = uint8_t(std::clamp(int(value * 255), 0, 255));
    }
  }
  for (float deviation : image.std)
    require(deviation > 0, "{}: image_std: must be above 0, found {}", where, deviation);
}

}  // namespace yopo
