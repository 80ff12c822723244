#include "plans/cost.h"

#include <algorithm>

#include "core/error.h"
#include "models/kept_rows.h"
#include "models/tensors.h"

namespace yopo {
namespace {

/// Ordered pairs (i, j) of [0, n) with |i - j| <= radius.
int64_t near_pairs(int64_t n, int64_t radius) {
  const int64_t r = std::min(radius, n - 1);
  return n * (2 * r + 1) - r * (r + 1);
}

/// (query, key) pairs of a rows x columns grid within the window; a causal one keeps j <= i in row-major order, which
/// is half of the symmetric pairs and the diagonal.
int64_t window_pairs(int64_t rows, int64_t columns, int64_t size, bool causal) {
  const int64_t radius = (size - 1) / 2;
  const int64_t all = near_pairs(rows, radius) * near_pairs(columns, radius);
  return causal ? (all + rows * columns) / 2 : all;
}

}  // namespace

double paper_flops(const Plan& plan, const DecoderSpec& spec, int64_t visual_tokens, int64_t grid_rows,
                   int64_t grid_columns) {
  const double n = double(visual_tokens), d = double(spec.hidden_size);
  const double heads = double(spec.num_attention_heads), grid = double(grid_rows * grid_columns);
  double total = 0;
  for (const LayerPlan& layer : plan.layers) {
    if (!layer.alive) continue;
    double share = 1;
    if (layer.window) {
      ensure(grid > 0, "paper_flops needs the grid of a windowed plan");
      share = double(window_pairs(grid_rows, grid_columns, layer.window->size, false)) / (grid * grid);
    }
    const LayerCounts counts = layer_counts(layer, spec);
    const double kept = double(counts.heads) / heads, updated = double(counts.updates) / heads;
    total += 2 * (kept + updated) * n * d * d + 2 * updated * share * n * n * d +
             n * d * double(3 * counts.neurons + 2 * counts.rank);
  }
  return 2 * total;
}

double paper_flops(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt) {
  double total = 0;
  for (const Span& image : prompt.spans) total += paper_flops(plan, spec, image.count(), image.rows, image.columns);
  return total;
}

int64_t visual_tokens(const PromptShape& prompt) {
  int64_t total = 0;
  for (const Span& span : prompt.spans) total += span.count();
  return total;
}

PromptShape shape_of(const ModelInput& input) {
  const PromptShape shape{input.length(), input.spans};
  return input.kept ? with_kept(shape, *input.kept) : shape;
}

PromptShape shape_at(const PromptShape& prompt, int64_t layer) {
  if (prompt.kept_from < 0) return prompt;
  if (layer < prompt.kept_from) return {prompt.length, prompt.spans};
  int64_t kept = 0;
  for (const Span& span : prompt.kept) kept += span.count();
  return {prompt.length - visual_tokens(prompt) + kept, prompt.kept};
}

PromptShape with_kept(const PromptShape& prompt, const KeptRows& kept) {
  return {prompt.length, prompt.spans, kept.from_layer, kept_spans(prompt.spans, kept)};
}

PromptShape single_image_shape(int64_t before, int64_t rows, int64_t columns, int64_t after) {
  PromptShape shape{before + rows * columns + after, {}};
  if (rows * columns > 0) shape.spans.push_back({before, rows, columns});
  return shape;
}

PairCounts count_pairs(const PromptShape& prompt, const std::optional<Window>& window) {
  PairCounts pairs;
  const int64_t visual = visual_tokens(prompt), text = prompt.length - visual;
  pairs.text_text = text * (text + 1) / 2;
  int64_t visual_before = 0;
  for (const Span& span : prompt.spans) {
    const int64_t text_before = span.start - visual_before;
    pairs.visual_text += span.count() * text_before;
    pairs.text_visual += span.count() * (text - text_before);
    if (window) pairs.visual_visual += window_pairs(span.rows, span.columns, window->size, window->causal);
    visual_before += span.count();
  }
  if (!window) pairs.visual_visual = visual * (visual + 1) / 2;
  return pairs;
}

Cost& Cost::operator+=(const Cost& other) {
  projections += other.projections;
  attention += other.attention;
  ffn += other.ffn;
  head += other.head;
  return *this;
}

Cost layer_prefill_cost(const LayerPlan& layer, const DecoderSpec& spec, const PromptShape& prompt) {
  const PairCounts pairs = count_pairs(prompt, layer.window);
  const LayerCounts counts = layer_counts(layer, spec);
  const double visual = double(visual_tokens(prompt)), text = double(prompt.length) - visual;
  const double hidden = double(spec.hidden_size), width = double(spec.head_dim);
  const double heads = double(spec.num_attention_heads), kv_heads = double(spec.num_key_value_heads);
  Cost cost;
  cost.projections =
      hidden * width *
      (text * (2 * heads + 2 * kv_heads) + visual * (2 * double(counts.updates) + 2 * double(counts.kv_heads)));
  cost.attention = 2 * width *
                   (heads * double(pairs.text_text) + double(counts.heads) * double(pairs.text_visual) +
                    double(counts.updates) * double(pairs.visual_text + pairs.visual_visual));
  cost.ffn =
      hidden * (3 * text * double(spec.intermediate_size) + visual * double(3 * counts.neurons + 2 * counts.rank));
  return cost;
}

Cost prefill_cost(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t logit_rows) {
  Cost cost;
  for (size_t l = 0; l < plan.layers.size(); ++l)
    cost += layer_prefill_cost(plan.layers[l], spec, shape_at(prompt, int64_t(l)));
  cost.head = double(logit_rows) * double(spec.hidden_size) * double(spec.vocab_size);
  return cost;
}

Cost visual_cost(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt) {
  const Cost whole = prefill_cost(plan, spec, prompt);
  const Cost text = prefill_cost(plan, spec, {prompt.length - visual_tokens(prompt), {}});
  return {whole.projections - text.projections, whole.attention - text.attention, whole.ffn - text.ffn,
          whole.head - text.head};
}

Cost decode_cost(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t generated) {
  const double text = double(prompt.length + generated + 1 - visual_tokens(prompt));
  const double hidden = double(spec.hidden_size), width = double(spec.head_dim);
  const double heads = double(spec.num_attention_heads), kv_heads = double(spec.num_key_value_heads);
  Cost cost;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const LayerPlan& layer = plan.layers[l];
    const double visual = double(visual_tokens(shape_at(prompt, int64_t(l))));
    cost.projections += hidden * width * (2 * heads + 2 * kv_heads);
    cost.attention += 2 * width * (heads * text + double(layer_counts(layer, spec).heads) * visual);
    cost.ffn += 3 * hidden * double(spec.intermediate_size);
  }
  cost.head = hidden * double(spec.vocab_size);
  return cost;
}

int64_t kv_bytes(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t generated,
                 int64_t element_size) {
  const int64_t text = prompt.length - visual_tokens(prompt) + generated;
  int64_t entries = 0;
  for (size_t l = 0; l < plan.layers.size(); ++l)
    entries += text * spec.num_key_value_heads +
               visual_tokens(shape_at(prompt, int64_t(l))) * layer_counts(plan.layers[l], spec).kv_heads;
  return entries * 2 * spec.head_dim * element_size;
}

double weight_bytes(const DecoderSpec& spec, int64_t element_size) {
  ModelSpec model;
  model.text = spec;
  double elements = 0;
  for (const DeclaredTensor& tensor : declared_tensors()) {
    const bool layer = tensor.place == TensorPlace::DecoderLayer;
    const bool once = tensor.role == Role::FinalNorm || tensor.role == Role::LmHead;
    if ((!layer && !once) || (tensor.present && !tensor.present(model))) continue;
    double own = layer ? double(spec.num_hidden_layers) : 1;
    for (const int64_t size : tensor.shape(model)) own *= double(size);
    elements += own;
  }
  return elements * double(element_size);
}

}  // namespace yopo
