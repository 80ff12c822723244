// Models and plans to export in tests.
#pragma once

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "models/spec.h"
#include "plans/plan.h"
#include "tests/support/temporary.h"

namespace yopo::testing {

inline const fs::path fixtures = fs::path(YOPO_TEST_DATA) / "fixtures";

/// All files below a folder by relative path, with their bytes.
inline std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) files[fs::relative(entry.path(), folder).string()] = read_file(entry.path());
  return files;
}

inline std::vector<fs::path> plans_below(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.path().string().ends_with(".plan.json")) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

/// The checkpoint's tensors as owned bytes, to be changed and written again.
inline std::map<std::string, OwnedTensor> owned_tensors(const fs::path& file) {
  std::map<std::string, OwnedTensor> owned;
  const SafetensorsFile source = SafetensorsFile::open(file);
  for (const auto& [name, view] : source.tensors())
    owned[name] = {view.dtype, view.shape, {view.bytes.begin(), view.bytes.end()}};
  return owned;
}

/// The llava-hf fixture with two KV heads for four query heads, biases on q, k, v and o, and bf16 decoder weights.
inline void write_grouped_model(const fs::path& folder) {
  const fs::path source = fixtures / "llava_hf" / "model";
  Json config = read_json(source / "config.json");
  config["text_config"]["num_key_value_heads"] = 2;
  config["text_config"]["attention_bias"] = true;
  fs::create_directories(folder);
  write_json(folder / "config.json", config);
  fs::copy_file(source / "preprocessor_config.json", folder / "preprocessor_config.json");
  auto tensors = owned_tensors(source / "model.safetensors");
  std::mt19937 random(5);
  std::map<std::string, OwnedTensor> added;
  for (auto& [name, tensor] : tensors) {
    const bool key = name.find("language_model.") == 0 && name.ends_with("k_proj.weight");
    const bool value = name.find("language_model.") == 0 && name.ends_with("v_proj.weight");
    if (key || value) {
      tensor.shape[0] /= 2;
      tensor.bytes.resize(tensor.bytes.size() / 2);
    }
    const bool other = name.ends_with("q_proj.weight") || name.ends_with("o_proj.weight");
    if (key || value || (name.find("language_model.") == 0 && other)) {
      std::vector<float> bias(size_t(tensor.shape[0]));
      for (float& entry : bias) entry = float(random() % 2000) / 1000 - 1;
      added[name.substr(0, name.size() - 6) + "bias"] = OwnedTensor::of({tensor.shape[0]}, bias);
    }
  }
  tensors.merge(added);
  for (auto& [name, tensor] : tensors) {
    if (name.find("language_model.") != 0) continue;
    const size_t count = tensor.bytes.size() / 4;
    std::vector<std::byte> narrow(count * 2);
    from_float(reinterpret_cast<const float*>(tensor.bytes.data()), count, DType::BF16, narrow.data());
    tensor = {DType::BF16, tensor.shape, narrow};
  }
  write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
}

/// A plan with about half of everything in use, at random, updates within heads.
inline Plan half_plan(const DecoderSpec& spec, uint32_t seed) {
  std::mt19937 random(seed);
  Plan plan = dense_plan(spec);
  for (LayerPlan& layer : plan.layers) {
    for (size_t head = 0; head < layer.heads.size(); ++head) {
      layer.heads[head] = random() % 4 > 0;
      layer.updates[head] = layer.heads[head] && random() % 2;
    }
    layer.neurons.emplace();
    for (int64_t neuron = 0; neuron < spec.intermediate_size; ++neuron)
      if (random() % 2) layer.neurons->push_back(neuron);
  }
  return plan;
}

}  // namespace yopo::testing
