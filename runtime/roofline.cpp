#include "runtime/roofline.h"

#include <algorithm>

namespace yopo::runtime {

double roofline_seconds(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t batch,
                        int64_t element_size, double flop_rate, double byte_rate) {
  DecoderSpec layer_spec = spec;
  layer_spec.num_hidden_layers = 1;
  layer_spec.vocab_size = 0;
  const double layer_bytes = weight_bytes(layer_spec, element_size);
  double seconds = 0;
  for (const LayerPlan& layer : plan.layers) {
    const double flops = double(batch) * layer_prefill_cost(layer, layer_spec, prompt).flops();
    seconds += std::max(flops / flop_rate, layer_bytes / byte_rate);
  }
  const double head = double(spec.hidden_size) * double(spec.vocab_size);
  return seconds + std::max(2 * double(batch) * head / flop_rate, head * double(element_size) / byte_rate);
}

std::vector<ProductShape> layer_products(const LayerPlan& layer, const DecoderSpec& spec, const PromptShape& prompt,
                                         int64_t batch) {
  const LayerCounts counts = layer_counts(layer, spec);
  const int64_t visual = batch * visual_tokens(prompt), text = batch * prompt.length - visual, all = visual + text;
  const int64_t hidden = spec.hidden_size, dim = spec.head_dim;
  const int64_t heads = spec.num_attention_heads, kv_heads = spec.num_key_value_heads, neurons = spec.intermediate_size;
  std::vector<ProductShape> products;
  const auto add = [&](int64_t m, int64_t n, int64_t k, bool adds) {
    if (m > 0 && n > 0 && k > 0) products.push_back({m, n, k, adds});
  };
  // Without visual rows nothing is told apart.
  const int64_t updates = visual > 0 ? counts.updates : 0, shared_kv = visual > 0 ? counts.kv_heads : 0;
  const int64_t shared_neurons = visual > 0 ? counts.neurons : 0;
  add(all, (updates + 2 * shared_kv) * dim, hidden, false);
  add(text, (heads - updates + 2 * (kv_heads - shared_kv)) * dim, hidden, false);
  add(all, hidden, updates * dim, true);
  add(text, hidden, (heads - updates) * dim, true);
  add(all, 2 * shared_neurons, hidden, false);
  add(text, 2 * (neurons - shared_neurons), hidden, false);
  add(all, hidden, shared_neurons, true);
  add(text, hidden, neurons - shared_neurons, true);
  add(visual, counts.rank, hidden, false);
  add(visual, hidden, counts.rank, true);
  return products;
}

double roofline_seconds_one_by_one(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt, int64_t batch,
                                   int64_t element_size, double flop_rate, double byte_rate) {
  const auto element = double(element_size);
  const auto longer = [&](double flops, double bytes) { return std::max(flops / flop_rate, bytes / byte_rate); };
  const auto of_product = [&](const ProductShape& p) {
    const double out = p.adds ? 2 * sizeof(float) : element;  // read and written
    return longer(p.flops(),
                  (double(p.m) * double(p.k) + double(p.n) * double(p.k)) * element + double(p.m) * double(p.n) * out);
  };
  const auto visual = double(visual_tokens(prompt)), text = double(prompt.length) - visual;
  double seconds = 0;
  for (const LayerPlan& layer : plan.layers) {
    for (const ProductShape& product : layer_products(layer, spec, prompt, batch)) seconds += of_product(product);
    const LayerCounts counts = layer_counts(layer, spec);
    // Queries in and rows out, keys and values.
    const double rows = 2 * (visual * double(counts.updates) + text * double(spec.num_attention_heads)) +
                        2 * (visual * double(counts.kv_heads) + text * double(spec.num_key_value_heads));
    seconds += double(batch) *
               longer(2 * layer_prefill_cost(layer, spec, prompt).attention, rows * double(spec.head_dim) * element);
  }
  return seconds + of_product({batch, spec.vocab_size, spec.hidden_size, false});
}

}  // namespace yopo::runtime
