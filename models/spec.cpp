#include "models/spec.h"

#include "models/families/internvl2.h"
#include "models/families/llava.h"
#include "models/families/qwen2_vl.h"
#include "models/tensors.h"

namespace yopo {

namespace {

/// A family is data: the architectures it answers to and the function that reads its config.
struct Family {
  std::vector<std::string> architectures;
  ModelSpec (*from_config)(const Json& config, const std::string& where);
  void (*locate_tensors)(const Checkpoint& checkpoint, ModelSpec& spec);
};

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      {{"LlavaForConditionalGeneration", "LlavaLlamaForCausalLM"}, llava_spec, locate_llava_tensors},
      {{"Qwen2VLForConditionalGeneration"}, qwen2_vl_spec, locate_qwen2_vl_tensors},
      {{"InternVLChatModel"}, internvl2_spec, locate_internvl2_tensors},
  };
  return all;
}

std::string architecture_of(const Json& config, const std::string& where) {
  const Json& names = get_array(config, "architectures", where);
  require(names.size() == 1 && names[0].is_string(), "{}: architectures: expected a list with one name, found {}",
          where, names.dump());
  return names[0].get<std::string>();
}

const Family& family_of(const Json& config, const std::string& where) {
  const std::string architecture = architecture_of(config, where);
  std::vector<std::string> known;
  for (const Family& family : families())
    for (const std::string& name : family.architectures) {
      if (name == architecture) return family;
      known.push_back(name);
    }
  fail("{}: architectures: '{}' is not one we know ({}){}", where, architecture, fmt::join(known, ", "),
       did_you_mean(architecture, known));
}

}  // namespace

ModelSpec spec_from_config(const Json& config, const std::string& where) {
  require(config.is_object(), "{}: expected a JSON object, found {}", where, config.type_name());
  ModelSpec spec = family_of(config, where).from_config(config, where);
  spec.architecture = architecture_of(config, where);
  spec.model_type = get_string_or(config, "model_type", where, "");
  return spec;
}

ModelSpec read_spec(const Checkpoint& checkpoint) {
  const std::string where = (checkpoint.folder() / "config.json").string();
  ModelSpec spec = spec_from_config(checkpoint.config(), where);
  family_of(checkpoint.config(), where).locate_tensors(checkpoint, spec);
  return spec;
}

OpenModel open_model(const fs::path& folder) {
  OpenModel model{Checkpoint::open(folder), {}};
  model.spec = read_spec(model.checkpoint);
  if (model.spec.layout == "llava-original")
    model.checkpoint.supplement("mm_projector.bin", model.spec.projector_prefix);
  if (!model.spec.vision_folder.empty()) {
    // A separate tower's names start with "vision_model."; the spec's prefix says where they appear once folded in.
    const std::string own = "vision_model.";
    const std::string& prefix = model.spec.vision_prefix;
    ensure(prefix.ends_with(own), "a separate tower's prefix ends with its own names' prefix");
    model.checkpoint.add(Checkpoint::open(model.spec.vision_folder), prefix.substr(0, prefix.size() - own.size()));
  }
  check_tensors(model.checkpoint, tensor_table(model.spec));
  return model;
}

}  // namespace yopo
