#include "models/spec.h"

#include "models/family.h"
#include "models/tensors.h"

namespace yopo {

namespace {

/// The method that a config.json says its weights are quantised by; "" for none. Parts (a decoder, a tower) may say it
/// for themselves, and early files of compressed-tensors have a key of their own.
std::string quantised_by(const Json& config) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    if (!has(config, key)) continue;
    const Json& entry = config[key];
    if (!entry.is_object()) return key;
    if (has(entry, "quant_method") && entry["quant_method"].is_string())
      return printable(entry["quant_method"].get<std::string>());
    for (const char* flag : {"load_in_4bit", "load_in_8bit"})  // before the method had a name
      if (has(entry, flag)) return "bitsandbytes";
    return std::string(key) == "compression_config" ? "compressed-tensors" : "a method it does not name";
  }
  for (const auto& [key, part] : config.items()) {
    if (!part.is_object()) continue;
    for (const char* inner : {"quantization_config", "compression_config"})
      if (has(part, inner)) return quantised_by(part);
  }
  return "";
}

}  // namespace

ModelSpec spec_from_config(const Json& config, const std::string& where) {
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  const Family& family = family_of_config(config, where);
  const std::string method = quantised_by(config);
  require(method.empty(),
          "{}: the weights are quantised ({}): quantised checkpoints are not supported; give the original in float32, "
          "float16 or bfloat16",
          where, method);
  ModelSpec spec = family.read_config(config, where);
  spec.family = family.name;
  spec.architecture = config["architectures"][0].get<std::string>();
  spec.model_type = get_string_or(config, "model_type", where, "");
  check_spec(spec);
  return spec;
}

ModelSpec read_spec(const Checkpoint& checkpoint) {
  ModelSpec spec = spec_from_config(checkpoint.config(), (checkpoint.folder() / "config.json").string());
  family_of(spec).locate(checkpoint, spec);
  check_spec(spec);
  return spec;
}

void check_spec(const ModelSpec& spec) {
  const VisionSpec& vision = spec.vision;
  ensure(!vision.taps.empty(), "a tower has a tap into the embeddings");
  for (size_t i = 0; i < vision.taps.size(); ++i) {
    const Tap& tap = vision.taps[i];
    ensure(tap.decoder_layer == int64_t(i) && tap.projector == int64_t(i),
           "the forwards compute a tap into the embeddings, then one behind each of the first decoder layers, each "
           "through a projector of its own");
    ensure(tap.tower_blocks >= (i > 0 ? 1 : 0) && tap.tower_blocks <= vision.num_hidden_layers,
           "a tap is after one of the tower's blocks");
    ensure(i <= 1 || tap.tower_blocks > vision.taps[i - 1].tower_blocks, "later taps come from later blocks");
  }
  ensure(spec.deep_taps() <= spec.text.num_hidden_layers, "a tap behind a layer needs the layer");
  ensure(spec.deep_taps() == 0 || (vision.image_size == 0 && !vision.class_token),
         "taps behind layers are for pictures of any size, without class tokens");
  ensure(vision.window >= 0 && vision.table_side >= 0, "windows and tables have a size");
  ensure((vision.window == 0 && vision.table_side == 0) || (vision.image_size == 0 && !vision.class_token),
         "windows and interpolated positions are for pictures of any size, without class tokens");
  ensure(vision.image_size > 0 || !(vision.class_token || vision.position_table),
         "a class token and a table of positions are for square pictures of one size");
  ensure(!vision.gated_mlp || vision.hidden_act == Activation::Silu, "a gate in the tower's MLP is silu's");
  ensure(vision.norm != NormKind::None, "a tower's blocks are normed");
}

OpenModel open_model(const fs::path& folder) {
  OpenModel model{Checkpoint::open(folder), {}};
  model.spec = read_spec(model.checkpoint);
  const TensorLayout& layout = layout_of(model.spec);
  if (!layout.projector_file.empty()) model.checkpoint.supplement(layout.projector_file, layout.projector);
  if (!model.spec.vision_folder.empty()) {
    ensure(!layout.tower_prefix.empty() && layout.vision.ends_with(layout.tower_prefix),
           "a separate tower's prefix ends with its own names' prefix");
    model.checkpoint.add(Checkpoint::open(model.spec.vision_folder),
                         layout.vision.substr(0, layout.vision.size() - layout.tower_prefix.size()));
  }
  check_tensors(model.checkpoint, tensor_table(model.spec));
  return model;
}

}  // namespace yopo
