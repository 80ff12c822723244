#include "runtime/dropped.h"

#include <algorithm>

#include "core/error.h"
#include "models/kept_rows.h"

namespace yopo::runtime {

std::optional<Dropped> dropped_of(const EngineState& state, const std::vector<ModelInput>& inputs) {
  const auto drops = [](const ModelInput& input) { return input.kept.has_value(); };
  const auto first = std::find_if(inputs.begin(), inputs.end(), drops);
  if (first == inputs.end()) return std::nullopt;
  Dropped dropped;
  dropped.from_layer = first->kept->from_layer;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string where = fmt::format("request {}", i);
    require(drops(inputs[i]), "{}: it drops no visual tokens, others of its batch do", where);
    check_kept_rows(*inputs[i].kept, inputs[i], state.spec.text.num_hidden_layers, where);
    require(inputs[i].kept->from_layer == dropped.from_layer,
            "{}: it drops visual tokens from layer {} on, others of its batch from layer {}", where,
            inputs[i].kept->from_layer, dropped.from_layer);
    dropped.rest.push_back(without_dropped(inputs[i]));
  }
  for (size_t l = size_t(dropped.from_layer); l < state.layers.size(); ++l)
    require(!state.layers[l].plan.window, "layer {}: a plan's window and dropped visual tokens exclude each other", l);
  dropped.layout = make_layout(dropped.rest, std::vector<SharedPrefix>(dropped.rest.size()));
  return dropped;
}

VisualCounts visual_counts(const std::optional<Dropped>& dropped, const std::vector<ModelInput>& inputs, size_t i) {
  if (!dropped) return {inputs[i].visual_tokens()};
  return {inputs[i].visual_tokens(), dropped->from_layer, dropped->rest[i].visual_tokens()};
}

void move_rows(const EngineState& state, const std::vector<ModelInput>& inputs, const Layout& layout, const float* x,
               const Dropped& dropped, float* to, bool visual) {
  const int64_t hidden = state.spec.text.hidden_size;
  const int64_t before = visual ? layout.visual_rows : layout.rows(),
                after = visual ? dropped.layout.visual_rows : dropped.layout.rows();
  std::vector<float> from(size_t(before * hidden)), rows(size_t(after * hidden));
  state.ops->download(from.data(), x, from.size() * sizeof(float));
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<uint8_t> stays = kept_tokens(inputs[i].spans, inputs[i].length(), *inputs[i].kept);
    const std::vector<int64_t>&old_rows = layout.requests[i].row_of, &new_rows = dropped.layout.requests[i].row_of;
    size_t next = 0;
    for (size_t token = 0; token < stays.size(); ++token)
      if (stays[token]) {
        if (const int64_t row = new_rows[next++]; row < after)  // visual rows come first
          std::copy_n(from.begin() + old_rows[token] * hidden, hidden, rows.begin() + row * hidden);
      }
  }
  state.ops->upload(to, rows.data(), rows.size() * sizeof(float));
}

}  // namespace yopo::runtime
