// The families this program knows: one line each.
#include <algorithm>

#include "core/error.h"
#include "models/family.h"

// NAME_family() of models/families/NAME.cpp.
#define YOPO_FAMILIES(family)                                                                    \
  family(llava_family) family(qwen2_vl_family) family(qwen2_5_vl_family) family(qwen3_vl_family) \
      family(internvl2_family) family(internvl3_family) family(llava_next_family) family(llava_onevision_family)

namespace yopo {

#define YOPO_DECLARE(family) const Family& family();
YOPO_FAMILIES(YOPO_DECLARE)
#undef YOPO_DECLARE

namespace {

// Functions, not objects: a record is there whoever asks for it first.
std::vector<const Family*>& all() {
#define YOPO_ADDRESS(family) &family(),
  static std::vector<const Family*> list = {YOPO_FAMILIES(YOPO_ADDRESS)};
#undef YOPO_ADDRESS
  return list;
}

std::string architecture_of(const Json& config, const std::string& where) {
  const Json& names = get_array(config, "architectures", where);
  require(names.size() == 1 && names[0].is_string(), "{}: architectures: expected a list with one name, found {}",
          where, names.dump());
  return names[0].get<std::string>();
}

/// Relatives of known families that compute what the forwards do not.
struct Refused {
  const char *architecture, *why;
};
constexpr Refused kRefused[] = {
    {"Qwen3VLMoeForConditionalGeneration",
     "mixtures of experts are not supported; of Qwen3-VL the dense models are "
     "(Qwen3VLForConditionalGeneration)"},
    {"Qwen3_5ForConditionalGeneration", "linear attention is not supported; Qwen3VLForConditionalGeneration is"},
    {"Qwen3_5MoeForConditionalGeneration",
     "linear attention and mixtures of experts are not supported; "
     "Qwen3VLForConditionalGeneration is"},
};

bool has_name(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

const std::vector<const Family*>& families() { return all(); }

void register_family(const Family& family) {
  for (const Family* other : all()) {
    ensure(other->name != family.name, "one record of a name");
    for (const std::string& name : family.architectures)
      ensure(!has_name(other->architectures, name), "one record of an architecture");
  }
  all().push_back(&family);
}

const Family& family_named(const std::string& name) {
  for (const Family* family : all())
    if (family->name == name) return *family;
  throw InternalError(fmt::format("no family has the name '{}'", name));
}

const Family& family_of_config(const Json& config, const std::string& where) {
  const std::string architecture = architecture_of(config, where);
  for (const Refused& refused : kRefused)
    require(architecture != refused.architecture, "{}: architectures: {}: {}", where, architecture, refused.why);
  std::vector<std::string> known;
  for (const Family* family : all()) {
    known.insert(known.end(), family->architectures.begin(), family->architectures.end());
    if (!has_name(family->architectures, architecture)) continue;
    const std::string type = get_string_or(config, "model_type", where, family->model_types.front());
    require(has_name(family->model_types, type), "{}: model_type '{}' contradicts architecture {}: expected {}{}",
            where, printable(type), architecture, fmt::join(family->model_types, " or "),
            did_you_mean(type, family->model_types));
    return *family;
  }
  fail("{}: architectures: '{}' is not one we know ({}){}", where, printable(architecture), fmt::join(known, ", "),
       did_you_mean(architecture, known));
}

const TensorLayout& layout_of(const ModelSpec& spec) {
  for (const TensorLayout& layout : family_of(spec).layouts)
    if (layout.name == spec.layout) return layout;
  throw InternalError(fmt::format("family {} has no layout '{}'", spec.family, spec.layout));
}

}  // namespace yopo
