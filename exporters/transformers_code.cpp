#include "exporters/transformers_code.h"

#include "core/error.h"

namespace yopo {
namespace {

constexpr const char *kAutoMap = "auto_map", *kAutoClass = "AutoModelForImageTextToText";
constexpr std::string_view kClassEnd = "ForConditionalGeneration";

std::string class_of(const Json& config) {
  if (!has(config, "architectures") || !config["architectures"].is_array() || config["architectures"].empty() ||
      !config["architectures"][0].is_string())
    return "";
  return config["architectures"][0].get<std::string>();
}

}  // namespace

void check_transformers_code(const Json& config, const std::string& where) {
  const std::string name = class_of(config);
  bool known = false;
  if (name.ends_with(kClassEnd)) {
    // python/yopo/transformers/families.py lists the classes inside these, and is among the files.
    const std::string entry = "\"" + name.substr(0, name.size() - kClassEnd.size()) + "Model\": Family(";
    for (const CodeFile& file : transformers_code())
      known = known || (file.name == "yopo_families.py" && file.text.find(entry) != std::string_view::npos);
  }
  require(known,
          "{}: transformers_code: '{}' is no class that yopo knows in transformers (docs/using-a-pruned-model.md lists "
          "them); export without it",
          where, printable(name));
  require(!has(config, kAutoMap) || !config[kAutoMap].is_object() || !config[kAutoMap].contains(kAutoClass),
          "{}: transformers_code: config.json has an auto_map with code of its own; export without it", where);
}

void add_transformers_code(Json& config, const fs::path& folder) {
  for (const CodeFile& file : transformers_code()) write_text(folder / file.name, std::string(file.text));
  if (!has(config, kAutoMap) || !config[kAutoMap].is_object()) config[kAutoMap] = Json::object();
  config[kAutoMap][kAutoClass] = "modeling_yopo.PrunedModel";
}

std::string transformers_code_fingerprint() {
  Fingerprint all;
  for (const CodeFile& file : transformers_code()) all.add(file.name).add(file.text);
  return all.hex();
}

}  // namespace yopo
