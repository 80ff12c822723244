#include "pipeline/dry_run.h"

#include <cmath>

#include "compress/kept_count.h"
#include "compress/make_plan.h"
#include "models/tensors.h"
#include "plans/cost.h"

namespace yopo {

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

Json dry_run(const Recipe& recipe) {
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
  const double exact_dense = visual_cost(dense, text, shape).flops(),
               exact_plan = visual_cost(estimate.plan, text, shape).flops();
  const int64_t S = recipe.calibration ? recipe.calibration->dataset.samples : 0;
  const double statistics = 8.0 * double(text.num_hidden_layers) *
                            (double(S) * double(text.num_attention_heads) + 4.0 * double(text.intermediate_size));
  const double stored = double(parameters) * 2, computed = double(parameters) * (recipe.dtype == "bf16" ? 2 : 4);
  // Calibration holds the weights, one block of attention rows and a layer's activations.
  const double activations =
      4.0 * double(shape.length) * (8.0 * double(text.hidden_size) + 3.0 * double(text.intermediate_size));
  return {{"settings", recipe.resolved()},
          {"parameters", parameters},
          {"plan_known", estimate.exact},
          {"visual_tokens", grid * grid},
          {"flops",
           {{"paper", {{"dense", paper_dense}, {"pruned", paper_plan}, {"fraction", paper_plan / paper_dense}}},
            {"exact", {{"dense", exact_dense}, {"pruned", exact_plan}, {"fraction", exact_plan / exact_dense}}}}},
          {"kv_bytes",
           {{"dense", kv_bytes(dense, text, shape, 0, 2)}, {"pruned", kv_bytes(estimate.plan, text, shape, 0, 2)}}},
          {"memory_bytes", {{"calibrate", computed + activations}, {"verify", 2 * computed + activations}}},
          {"disk_bytes", {{"statistics", statistics}, {"pruned", stored}}}};
}

std::string dry_run_text(const Json& dry_run) {
  const auto number = [&](const char* pointer) { return dry_run.at(Json::json_pointer(pointer)).get<double>(); };
  const auto size = [&](const char* pointer) { return size_text(number(pointer)); };
  std::string text = dry_run["settings"].get<std::string>() + "\n";
  text += fmt::format("parameters           {:.3f} billion\n", number("/parameters") / 1e9);
  text += fmt::format("visual FLOPs, paper  {:.3f} T dense, {:.3f} T pruned ({:.1f} %)\n",
                      number("/flops/paper/dense") / 1e12, number("/flops/paper/pruned") / 1e12,
                      100 * number("/flops/paper/fraction"));
  text += fmt::format("visual FLOPs, exact  {:.3f} T dense, {:.3f} T pruned ({:.1f} %), one image and 64 text tokens\n",
                      number("/flops/exact/dense") / 1e12, number("/flops/exact/pruned") / 1e12,
                      100 * number("/flops/exact/fraction"));
  if (!dry_run["plan_known"].get<bool>())
    text += "                     (heads chosen by threshold count as all kept until calibration)\n";
  text += fmt::format("KV cache, 16 bit     {} dense, {} pruned\n", size("/kv_bytes/dense"), size("/kv_bytes/pruned"));
  text += fmt::format("memory               about {} to calibrate, {} to verify\n", size("/memory_bytes/calibrate"),
                      size("/memory_bytes/verify"));
  text += fmt::format("disk                 about {} for the pruned checkpoint, {} for the statistics\n",
                      size("/disk_bytes/pruned"), size("/disk_bytes/statistics"));
  return text;
}

}  // namespace yopo
