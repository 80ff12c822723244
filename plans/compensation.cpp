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

std::string tensor_name(size_t layer, std::string_view part) { return fmt::format("layers.{}.{}", layer, part); }

/// A tensor of fp32; a size below 0 is the model's own, which check_plan looks at.
std::vector<float> vector_of(const SafetensorsFile& file, const std::string& name, const std::vector<int64_t>& shape,
                             const std::string& where) {
  require(file.contains(name), "{}: tensor {} is missing, which {} asks for", file.path().string(), name, where);
  const TensorView& tensor = file.at(name);
  bool fits = tensor.dtype == DType::F32 && tensor.shape.size() == shape.size();
  for (size_t i = 0; fits && i < shape.size(); ++i) fits = shape[i] < 0 || tensor.shape[i] == shape[i];
  require(fits, "{}: tensor {}: expected fp32 [{}], found {} [{}]", file.path().string(), name, fmt::join(shape, ", "),
          short_name(tensor.dtype), fmt::join(tensor.shape, ", "));
  std::vector<float> values = tensor.floats();
  for (size_t i = 0; i < values.size(); ++i)
    require(std::isfinite(values[i]), "{}: tensor {}: value {} is {}", file.path().string(), name, i, values[i]);
  return values;
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
  if (!has(parent, "compensation")) {
    require(!is_compensated(plan), "{}: compensation: layers have it, but no file is named", where);
    return;
  }
  const std::string place = where + ": compensation";
  const Json& object = get_object(parent, "compensation", where);
  check_known(object, {"file", "digest"}, place);
  require(is_compensated(plan), "{}: no layer has any", place);
  require(!folder.empty(), "{}: its vectors lie in a file, and there is no folder to look in", place);
  const std::string name = get_string(object, "file", place);
  require(!name.empty() && fs::path(name).filename() == fs::path(name), "{}: file: expected a plain name, found '{}'",
          place, printable(name));
  const SafetensorsFile file = SafetensorsFile::open(inside(folder, name, place));
  size_t expected = 0;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    if (!plan.layers[l].compensation) continue;
    auto added = std::make_shared<Compensation>();
    added->rank = plan.layers[l].compensation->rank;
    const std::string asked = fmt::format("{}, layer {}", where, l);
    added->bias = vector_of(file, tensor_name(l, "bias"), {-1}, asked);
    if (added->rank > 0) {
      added->down = vector_of(file, tensor_name(l, "down"), {added->rank, -1}, asked);
      added->up = vector_of(file, tensor_name(l, "up"), {-1, added->rank}, asked);
    }
    expected += added->rank > 0 ? 3 : 1;
    plan.layers[l].compensation = std::move(added);
  }
  require(file.tensors().size() == expected, "{}: {} tensors, but {} asks for {}", file.path().string(),
          file.tensors().size(), where, expected);
  const std::string digest = get_string(object, "digest", place);
  require(digest == digest_of(plan), "{}: not the vectors that {} was written with (digest there: {}; here: {})",
          file.path().string(), where, printable(digest), digest_of(plan));
}

void write_compensation(const fs::path& path, const Plan& plan) {
  std::map<std::string, OwnedTensor> tensors;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const auto& added = plan.layers[l].compensation;
    if (!added) continue;
    const auto hidden = int64_t(added->bias.size());
    tensors[tensor_name(l, "bias")] = OwnedTensor::of({hidden}, added->bias);
    if (added->rank == 0) continue;
    tensors[tensor_name(l, "down")] = OwnedTensor::of({added->rank, hidden}, added->down);
    tensors[tensor_name(l, "up")] = OwnedTensor::of({hidden, added->rank}, added->up);
  }
  write_safetensors(path, tensors);
}

}  // namespace yopo
