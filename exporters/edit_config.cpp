#include "exporters/edit_config.h"

#include <algorithm>

#include "core/error.h"

namespace yopo {
namespace {

constexpr const char* kTypeKeys[] = {"torch_dtype", "dtype"};

bool has_part(const Json& config, const std::string& key) { return has(config, key) && config[key].is_object(); }

bool replace_type(Json& object, const char* name) {
  bool found = false;
  for (const char* key : kTypeKeys) {
    if (!object.contains(key)) continue;
    object[key] = name;
    found = true;
  }
  return found;
}

}  // namespace

void cut_layers(Json& config, const Family& family, int64_t layers) {
  Json& decoder = has_part(config, family.text_key) ? config[family.text_key] : config;
  decoder["num_hidden_layers"] = layers;
  if (has(decoder, "max_window_layers") && decoder["max_window_layers"].is_number_integer())
    decoder["max_window_layers"] = std::min(layers, decoder["max_window_layers"].get<int64_t>());
  if (has(decoder, "layer_types") && decoder["layer_types"].is_array()) {
    Json& types = decoder["layer_types"];
    if (int64_t(types.size()) > layers) types.erase(types.begin() + layers, types.end());
  }
}

DType stored_type(const Json& config, const std::string& where) {
  for (const char* key : kTypeKeys) {
    if (!has(config, key)) continue;
    const std::string name = get_string(config, key, where);
    const std::vector<std::string> known{"float32", "float16", "bfloat16"};
    require(std::find(known.begin(), known.end(), name) != known.end(),
            "{}: {}: expected float32, float16 or bfloat16, found '{}'{}", where, key, printable(name),
            did_you_mean(name, known));
    return dtype_from_name(name);
  }
  return DType::BF16;
}

void set_stored_type(Json& config, const Family& family, DType dtype) {
  ensure(dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16, "a type that weights are stored in");
  const char* name = dtype == DType::F32 ? "float32" : dtype == DType::F16 ? "float16" : "bfloat16";
  for (const std::string& part : {family.text_key, family.vision_key})
    if (has_part(config, part)) replace_type(config[part], name);
  if (!replace_type(config, name)) config[kTypeKeys[0]] = name;
}

}  // namespace yopo
