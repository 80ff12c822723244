#include "plans/compensation.h"

#include <cmath>

#include "core/error.h"
#include "formats/safetensors.h"
#include "plans/layer_json.h"

namespace yopo {
namespace {

constexpr int64_t most_rank = int64_t(1) << 16;

std::string digest_of(const Plan& plan) {
  Fingerprint digest;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const auto& added = plan.layers[l].compensation;
    if (!added) continue;
    digest.add(fmt::format("layer {} rank {}", l, added->rank));
    for (const std::vector<float>* values : {&added->down, &added->up, &added->bias})
      digest.add(std::as_bytes(std::span(*values)));
  }
  return digest.hex();
}

/// `prefix`: "", or which of several plans.
std::string tensor_name(const std::string& prefix, size_t layer, std::string_view part) {
  return fmt::format("{}layers.{}.{}", prefix, layer, part);
}
std::string prefix_of(const std::string& budget) { return fmt::format("budgets.{}.", budget); }

/// A tensor of fp32; a size below 0 is the model's own, which check_plan looks at.
const TensorView& tensor_of(const SafetensorsFile& file, const std::string& name, const std::vector<int64_t>& shape,
                            const std::string& where) {
  require(file.contains(name), "{}: tensor {} is missing, which {} asks for", file.path().string(), name, where);
  const TensorView& tensor = file.at(name);
  bool fits = tensor.dtype == DType::F32 && tensor.shape.size() == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] < 0 || tensor.shape[i] == shape[i];
  require(fits, "{}: tensor {}: expected fp32 [{}], found {} [{}]", file.path().string(), name, fmt::join(shape, ", "),
          short_name(tensor.dtype), fmt::join(tensor.shape, ", "));
  return tensor;
}

std::vector<float> vector_of(const SafetensorsFile& file, const std::string& name, const std::vector<int64_t>& shape,
                             const std::string& where) {
  std::vector<float> values = tensor_of(file, name, shape, where).floats();
  for (size_t i = 0; i < values.size(); ++i)
    require(std::isfinite(values[i]), "{}: tensor {}: value {} is {}", file.path().string(), name, i, values[i]);
  return values;
}

/// The name that {"file", "digest"} says, checked.
std::string file_of(const Json& object, const std::string& place, const fs::path& folder) {
  check_known(object, {"file", "digest"}, place);
  require(!folder.empty(), "{}: its vectors lie in a file, and there is no folder to look in", place);
  const std::string name = get_string(object, "file", place);
  require(!name.empty() && fs::path(name).filename() == fs::path(name), "{}: file: expected a plain name, found '{}'",
          place, printable(name));
  return name;
}

/// Fills the marked layers' vectors, or with `look` only sees that they are there. Returns how many tensors that are.
size_t read_vectors(const SafetensorsFile& file, const std::string& prefix, const std::string& where, int64_t hidden,
                    bool look, Plan& plan) {
  size_t count = 0;
  const auto read = [&](const std::string& name, const std::vector<int64_t>& shape, const std::string& asked) {
    ++count;
    if (!look) return vector_of(file, name, shape, asked);
    (void)tensor_of(file, name, shape, asked);
    return std::vector<float>();
  };
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    if (!plan.layers[l].compensation) continue;
    auto added = std::make_shared<Compensation>();
    added->rank = plan.layers[l].compensation->rank;
    const std::string asked = fmt::format("{}, layer {}", where, l);
    added->bias = read(tensor_name(prefix, l, "bias"), {hidden}, asked);
    if (added->rank > 0) {
      added->down = read(tensor_name(prefix, l, "down"), {added->rank, hidden}, asked);
      added->up = read(tensor_name(prefix, l, "up"), {hidden, added->rank}, asked);
    }
    if (!look) plan.layers[l].compensation = std::move(added);
  }
  return count;
}

void check_count(const SafetensorsFile& file, size_t expected, const std::string& where) {
  require(file.tensors().size() == expected, "{}: {} tensors, but {} asks for {}", file.path().string(),
          file.tensors().size(), where, expected);
}

void check_digest(const SafetensorsFile& file, const Json& object, const std::string& place, const std::string& where,
                  const Plan& plan) {
  const std::string digest = get_string(object, "digest", place);
  require(digest == digest_of(plan), "{}: not the vectors that {} was written with (digest there: {}; here: {})",
          file.path().string(), where, printable(digest), digest_of(plan));
}

/// {"file", "digest"} of the plan with it, null for one without. UserError where layers and file do not go together.
const Json* vectors_of(const Json& parent, const std::string& where, const Plan& plan) {
  if (!has(parent, "compensation")) {
    require(!is_compensated(plan), "{}: compensation: layers have it, but no file is named", where);
    return nullptr;
  }
  const Json& object = get_object(parent, "compensation", where);
  check_known(object, {"file", "digest"}, where + ": compensation");
  require(is_compensated(plan), "{}: compensation: no layer has any", where);
  return &object;
}

void add_vectors(const Plan& plan, const std::string& prefix, std::map<std::string, OwnedTensor>& tensors) {
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const auto& added = plan.layers[l].compensation;
    if (!added) continue;
    const auto hidden = int64_t(added->bias.size());
    tensors[tensor_name(prefix, l, "bias")] = OwnedTensor::of({hidden}, added->bias);
    if (added->rank == 0) continue;
    tensors[tensor_name(prefix, l, "down")] = OwnedTensor::of({added->rank, hidden}, added->down);
    tensors[tensor_name(prefix, l, "up")] = OwnedTensor::of({hidden, added->rank}, added->up);
  }
}

}  // namespace

void layer_compensation_to_json(const LayerPlan& layer, Json& json) {
  if (!layer.compensation) return;
  json["compensation"] = Json::object();
  json["compensation"]["rank"] = layer.compensation->rank;
}

void layer_compensation_from_json(const Json& json, const std::string& place, LayerPlan& layer) {
  if (!has(json, "compensation")) return;
  const Json& object = get_object(json, "compensation", place);
  check_known(object, {"rank"}, place + ": compensation");
  auto added = std::make_shared<Compensation>();
  added->rank = get_int(object, "rank", place + ": compensation", 0, most_rank);
  layer.compensation = std::move(added);
}

Json compensation_to_json(const Plan& plan, const std::string& file) {
  Json json = Json::object();
  json["file"] = file;
  json["digest"] = digest_of(plan);
  return json;
}

void read_compensation(const Json& parent, const std::string& where, const fs::path& folder, Plan& plan) {
  const Json* object = vectors_of(parent, where, plan);
  if (!object) return;
  const std::string place = where + ": compensation";
  const SafetensorsFile file = SafetensorsFile::open(inside(folder, file_of(*object, place, folder), place));
  check_count(file, read_vectors(file, "", where, -1, false, plan), where);
  check_digest(file, *object, place, where, plan);
}

void read_compensation(const std::vector<const Json*>& parents, const std::string& where, const fs::path& folder,
                       int64_t hidden, std::vector<BudgetPlan>& plans, const std::string& budget) {
  std::string name;
  std::vector<const Json*> objects;
  const auto place_of = [&](size_t i) { return fmt::format("{}: budget {}", where, plans[i].budget); };
  for (size_t i = 0; i < plans.size(); ++i) {
    objects.push_back(vectors_of(*parents[i], place_of(i), plans[i].plan));
    if (!objects[i]) continue;
    const std::string own = file_of(*objects[i], place_of(i) + ": compensation", folder);
    require(name.empty() || name == own, "{}: compensation: file: '{}', but '{}' for another budget", place_of(i),
            printable(own), printable(name));
    name = own;
  }
  if (name.empty()) return;
  const SafetensorsFile file = SafetensorsFile::open(inside(folder, name, where + ": compensation"));
  size_t expected = 0;
  for (size_t i = 0; i < plans.size(); ++i) {
    if (!objects[i]) continue;
    const bool look = plans[i].budget != budget;
    expected += read_vectors(file, prefix_of(plans[i].budget), place_of(i), hidden, look, plans[i].plan);
    if (!look) check_digest(file, *objects[i], place_of(i) + ": compensation", place_of(i), plans[i].plan);
  }
  check_count(file, expected, where);
}

void write_compensation(const fs::path& path, const Plan& plan) {
  std::map<std::string, OwnedTensor> tensors;
  add_vectors(plan, "", tensors);
  write_safetensors(path, tensors);
}

void write_compensation(const fs::path& path, const std::vector<BudgetPlan>& plans) {
  std::map<std::string, OwnedTensor> tensors;
  for (const BudgetPlan& one : plans) add_vectors(one.plan, prefix_of(one.budget), tensors);
  write_safetensors(path, tensors);
}

}  // namespace yopo
