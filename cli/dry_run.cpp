#include "cli/dry_run.h"

#include <cmath>
#include <cstdio>

#include "compress/cost.h"
#include "compress/kept_count.h"
#include "compress/make_plan.h"
#include "models/tensors.h"

namespace yopo::cli {

namespace {

HeadMask first_heads(const HeadOptions& options, const DecoderSpec& spec, const std::string& what, bool& exact) {
  HeadMask mask(spec.num_hidden_layers, std::vector<uint8_t>(spec.num_attention_heads, 1));
  if (!options.mask.empty()) return read_head_mask(options.mask, spec.num_hidden_layers, spec.num_attention_heads);
  if (!options.keep) {
    exact = false;
    return mask;
  }
  const int64_t kept = kept_count(*options.keep, spec.num_attention_heads, "heads", "that a layer has", what);
  for (int64_t l = options.exempt_layers.value_or(0); l < spec.num_hidden_layers; ++l)
    std::fill(mask[l].begin() + kept, mask[l].end(), uint8_t(0));
  return mask;
}

std::string size_text(double bytes) {
  return bytes >= 1e9 ? fmt::format("{:.2f} GB", bytes / 1e9) : fmt::format("{:.2f} MB", bytes / 1e6);
}

}  // namespace

PlanEstimate estimate_plan(const PlanOptions& options, const DecoderSpec& spec) {
  PlanEstimate estimate{dense_plan(spec), true};
  Plan& plan = estimate.plan;
  if (options.window) plan.window = Window{options.window->size, options.window->causal};
  if (options.visual_layers) plan.visual_layers = *options.visual_layers;
  if (options.heads) plan.heads = first_heads(*options.heads, spec, "plan.heads", estimate.exact);
  if (options.updates) {
    HeadMask updates = first_heads(*options.updates, spec, "plan.updates", estimate.exact);
    for (size_t l = 0; l < updates.size(); ++l)
      for (size_t h = 0; h < updates[l].size(); ++h) updates[l][h] &= plan.heads[l][h];
    plan.updates = std::move(updates);
  }
  if (options.ffn) {
    const int64_t kept = kept_count(options.ffn->keep, spec.intermediate_size, "neurons", "there are", "plan.ffn");
    std::vector<int64_t> first(kept);
    for (int64_t i = 0; i < kept; ++i) first[i] = i;
    if (kept < spec.intermediate_size) plan.ffn.assign(spec.num_hidden_layers, first);
  }
  check_plan(plan, spec, "plan");
  return estimate;
}

int dry_run(const Recipe& recipe, const Context& context) {
  const fs::path config = recipe.model / "config.json";
  const ModelSpec spec = spec_from_config(read_json(config), config.string());
  const DecoderSpec& text = spec.text;
  const PlanEstimate estimate = estimate_plan(recipe.plan.value_or(PlanOptions{}), text);
  const Plan dense = dense_plan(text);
  const int64_t grid = spec.nominal_grid();
  const PromptShape shape = single_image_shape(1, grid, grid, 63);
  int64_t parameters = 0;
  for (const StoredTensor& tensor : stored_tensors(spec)) parameters += element_count(tensor.shape, tensor.name);
  const double paper_dense = paper_flops(dense, text, grid * grid, grid, grid);
  const double paper_plan = paper_flops(estimate.plan, text, grid * grid, grid, grid);
  const double exact_dense = visual_cost(dense, text, shape).flops(), exact_plan = visual_cost(estimate.plan, text, shape).flops();
  const int64_t S = recipe.calibration ? recipe.calibration->dataset.samples : 0;
  const double statistics =
      8.0 * double(text.num_hidden_layers) * (double(S) * double(text.num_attention_heads) + 4.0 * double(text.intermediate_size));
  const double stored = double(parameters) * 2, computed = double(parameters) * (recipe.dtype == "bf16" ? 2 : 4);
  // Calibration holds the weights, one block of attention rows and a layer's activations.
  const double activations = 4.0 * double(shape.length) * (8.0 * double(text.hidden_size) + 3.0 * double(text.intermediate_size));
  const Json result = {
      {"settings", recipe.resolved()},
      {"parameters", parameters},
      {"plan_known", estimate.exact},
      {"visual_tokens", grid * grid},
      {"flops", {{"paper", {{"dense", paper_dense}, {"pruned", paper_plan}, {"fraction", paper_plan / paper_dense}}},
                 {"exact", {{"dense", exact_dense}, {"pruned", exact_plan}, {"fraction", exact_plan / exact_dense}}}}},
      {"kv_bytes", {{"dense", kv_bytes(dense, text, shape, 0, 2)}, {"pruned", kv_bytes(estimate.plan, text, shape, 0, 2)}}},
      {"memory_bytes", {{"calibrate", computed + activations}, {"verify", 2 * computed + activations}}},
      {"disk_bytes", {{"statistics", statistics}, {"pruned", stored}}}};
  if (context.json) {
    print_json(result);
    return 0;
  }
  std::printf("%s\n", recipe.resolved().c_str());
  std::printf("parameters           %.3f billion\n", double(parameters) / 1e9);
  std::printf("visual FLOPs, paper  %.3f T dense, %.3f T pruned (%.1f %%)\n", paper_dense / 1e12, paper_plan / 1e12,
              100 * paper_plan / paper_dense);
  std::printf("visual FLOPs, exact  %.3f T dense, %.3f T pruned (%.1f %%), one image and 64 text tokens\n", exact_dense / 1e12,
              exact_plan / 1e12, 100 * exact_plan / exact_dense);
  if (!estimate.exact) std::printf("                     (heads chosen by threshold count as all kept until calibration)\n");
  std::printf("KV cache, 16 bit     %s dense, %s pruned\n", size_text(double(kv_bytes(dense, text, shape, 0, 2))).c_str(),
              size_text(double(kv_bytes(estimate.plan, text, shape, 0, 2))).c_str());
  std::printf("memory               about %s to calibrate, %s to verify\n", size_text(computed + activations).c_str(),
              size_text(2 * computed + activations).c_str());
  std::printf("disk                 about %s for the pruned checkpoint, %s for the statistics\n", size_text(stored).c_str(),
              size_text(statistics).c_str());
  return 0;
}

}  // namespace yopo::cli
