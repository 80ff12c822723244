#include "tests/runtime/fixtures.h"

#include <algorithm>

#include "runtime/weights.h"
#include "tests/runtime/tested_device.h"
#include "tests/support/reference_case.h"
#include "tests/support/role_values.h"

namespace yopo::testing {

fs::path fixture(const std::string& path) { return fixtures() / path; }

SafetensorsFile Case::file(const std::string& run) const {
  return SafetensorsFile::open(fixture(name) / (run + ".safetensors"));
}

ModelInput Case::embedded() const { return embedded_input(json, file("inputs"), file("dense")); }

Case read_case(const std::string& name) {
  Case result{name, {}, {}, case_json(name)};
  result.spans = spans_of(result.json);
  for (const Json& token : result.json["decode_tokens"]) result.decode.push_back(token);
  return result;
}

ModelSpec small_spec() {
  ModelSpec spec;
  DecoderSpec& s = spec.text;
  s.num_hidden_layers = 3, s.hidden_size = 44, s.num_attention_heads = 6, s.num_key_value_heads = 2,
  s.head_dim = odd_head_dim();
  s.intermediate_size = 37, s.vocab_size = 53, s.max_position_embeddings = 512, s.attention_bias = s.output_bias = true;
  spec.family = "llava", spec.layout = "llava-hf";
  spec.vision.image_size = 28, spec.vision.patch_size = 14;  // the tensor table covers a tower, though none is drawn
  return spec;
}

ReferenceWeights drawn_weights(const ModelSpec& spec, uint64_t seed, DType type) {
  return [spec, seed, type, table = tensor_table(spec)](Role role, int64_t layer) {
    const TensorSlot& slot = find_slot(table, role, layer);
    const int64_t rows = slot.shape.size() > 1 ? slot.shape[0] : 1, columns = slot.shape.back();
    std::vector<float> values(size_t(rows * columns));
    for (int64_t row = 0; row < rows; ++row)
      runtime::random_row(seed, role, layer, row, columns, values.data() + row * columns);
    if (type == DType::BF16 && rows > 1)
      for (float& value : values) value = float_of_bf16(bf16_of_float(value));
    return std::vector<double>(values.begin(), values.end());
  };
}

ReferenceWeights stored_weights(const OpenModel& model) {
  return [&model, table = tensor_table(model.spec)](Role role, int64_t layer) {
    return role_values(model.checkpoint, find_slot(table, role, layer));
  };
}

Plan drawn_plan(const DecoderSpec& spec, std::mt19937& random) {
  const auto below = [&](int64_t n) { return int64_t(random() % uint64_t(n)); };
  Plan plan = dense_plan(spec);
  set_visual_layers(plan, 1 + below(spec.num_hidden_layers));
  const auto window = [&]() -> std::optional<Window> {
    if (below(3) == 0) return std::nullopt;
    return Window{1 + 2 * below(3), below(2) == 1};
  };
  set_window(plan, window());
  const bool own_windows = below(2), updates = below(2);
  for (LayerPlan& layer : plan.layers) {
    if (own_windows) layer.window = window();
    const int64_t share = below(5);  // none, some, ..., all
    for (size_t h = 0; h < layer.heads.size(); ++h) {
      layer.heads[h] = layer.updates[h] = below(4) < share;
      if (updates) layer.updates[h] = layer.heads[h] && below(2);
    }
    if (layer.alive && below(3) == 0) {
      auto added = std::make_shared<Compensation>();
      added->rank = below(4);
      const auto draw = [&](int64_t count) {
        std::vector<float> values;
        for (int64_t i = 0; i < count; ++i) values.push_back(float(below(2001) - 1000) * 1e-4f);
        return values;
      };
      added->down = draw(added->rank * spec.hidden_size);
      added->up = draw(added->rank * spec.hidden_size);
      added->bias = draw(spec.hidden_size);
      layer.compensation = std::move(added);
    }
    if (below(4) == 0) continue;
    std::vector<int64_t> neurons;
    const int64_t kept = below(4);
    for (int64_t f = 0; f < spec.intermediate_size; ++f)
      if (below(3) < kept) neurons.push_back(f);
    layer.neurons = neurons;
  }
  return plan;
}

ModelInput drawn_input(const DecoderSpec& spec, std::mt19937& random, int64_t images) {
  const auto below = [&](int64_t n) { return int64_t(random() % uint64_t(n)); };
  ModelInput input;
  int64_t length = 1 + below(5);
  for (int64_t i = 0; i < images; ++i) {
    input.spans.push_back({length, 1 + below(5), 1 + below(5)});
    length += input.spans.back().count() + below(3);  // images may touch
  }
  length += 1 + below(60);
  for (int64_t t = 0; t < length; ++t) input.position_ids.push_back(t);
  std::normal_distribution<float> normal;
  input.embeds.resize(size_t(length * spec.hidden_size));
  for (float& value : input.embeds) value = normal(random);
  return input;
}

void append_row(ModelInput& input, const std::vector<double>& embed_table, int64_t token, int64_t hidden) {
  input.position_ids.push_back(input.next_position());
  input.embeds.insert(input.embeds.end(), embed_table.begin() + token * hidden,
                      embed_table.begin() + (token + 1) * hidden);
}

}  // namespace yopo::testing
