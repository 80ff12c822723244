#include "exporters/report.h"

#include <algorithm>

#include "core/error.h"
#include "plans/layer_json.h"

namespace yopo {
namespace {

/// The mean over prompts under the dense plan and under this one.
template <typename Measure>
Json pair_of(const Prompts& prompts, const Plan& dense, const Plan& plan, const Measure& measure) {
  double whole = 0, kept = 0;
  for (const PromptShape& prompt : prompts.shapes) {
    whole += double(measure(dense, prompt));
    kept += double(measure(plan, prompt));
  }
  const double count = double(prompts.shapes.size());
  Json json = Json::object();
  json["dense"] = whole / count;
  json["plan"] = kept / count;
  json["kept"] = whole > 0 ? Json(kept / whole) : Json();
  return json;
}

std::string window_name(const Json& window) {
  if (window.is_null()) return "none";
  if (window.is_string()) return window.get<std::string>();
  return fmt::format("{}{}", window.at("size").get<int64_t>(), window.at("causal").get<bool>() ? " causal" : "");
}

/// The layers below `count`, as the rows under it are numbered.
std::string layers_text(int64_t count) {
  return count == 0 ? "no layer" : count == 1 ? "layer 0" : fmt::format("layers 0 - {}", count - 1);
}

/// "-": without compensation, "bias": of rank 0.
std::string rank_text(const Json& row) {
  if (!row.contains("rank")) return "-";
  const auto rank = row.at("rank").get<int64_t>();
  return rank == 0 ? "bias" : fmt::format("{}", rank);
}

std::string layer_line(std::string_view layers, const Json& row, bool windows, bool ranks) {
  const auto cell = [&](const char* key) { return row.at(key).get<int64_t>(); };
  return fmt::format("{:>9}  {:>6}  {:>8}  {:>9}  {:>8}{}{}\n", layers, cell("heads"), cell("updates"),
                     cell("kv_heads"), cell("neurons"), ranks ? fmt::format("  {:>5}", rank_text(row)) : "",
                     windows ? fmt::format("  {:>9}", window_name(row.at("window"))) : "");
}

bool same_counts(const Json& a, const Json& b) {
  return a.at("heads") == b.at("heads") && a.at("updates") == b.at("updates") && a.at("kv_heads") == b.at("kv_heads") &&
         a.at("neurons") == b.at("neurons") && rank_text(a) == rank_text(b) && a.at("window") == b.at("window");
}

/// The window of all layers that compute visual tokens, or "by layer".
Json common_window(const Plan& plan) {
  for (const LayerPlan& layer : plan.layers)
    if (layer.alive && layer.window != plan.layers.front().window) return "by layer";
  return plan.layers.front().alive ? window_to_json(plan.layers.front().window) : Json();
}

}  // namespace

std::string scaled(double value) {
  static const std::vector<std::pair<double, std::string_view>> prefixes{
      {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  for (const auto& [factor, prefix] : prefixes)
    if (value >= factor) return fmt::format("{:.2f} {}", value / factor, prefix);
  return fmt::format("{:.0f} ", value);
}

Prompts typical_prompt(const ModelSpec& spec) {
  const int64_t grid = spec.nominal_grid();
  return {"a typical prompt", {single_image_shape(35, grid, grid, 64)}};
}

Json report(const Plan& plan, const ModelSpec& model, const Prompts& prompts, DType kv_dtype) {
  const DecoderSpec& spec = model.text;
  check_plan(plan, spec, "report");
  ensure(!prompts.shapes.empty(), "a report of some prompt");
  const Plan dense = dense_plan(spec);
  Json json = Json::object();
  json["semantics"] = name_of(plan.semantics);
  json["window"] = common_window(plan);
  json["visual_layers"] = visual_layers(plan);
  json["layers"] = Json::array();
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    const LayerPlan& layer = plan.layers[l];
    const LayerCounts counts = layer_counts(layer, spec);
    Json row = Json::object();
    row["layer"] = l;
    row["heads"] = counts.heads;
    row["updates"] = counts.updates;
    row["kv_heads"] = counts.kv_heads;
    row["neurons"] = counts.neurons;
    if (layer.compensation) row["rank"] = layer.compensation->rank;
    row["window"] = layer.alive ? window_to_json(layer.window) : Json();
    json["layers"].push_back(std::move(row));
  }
  double visual_tokens = 0, tokens = 0;
  for (const PromptShape& prompt : prompts.shapes) {
    tokens += double(prompt.length);
    for (const Span& span : prompt.spans) visual_tokens += double(span.count());
  }
  const double count = double(prompts.shapes.size());
  json["prompt"]["name"] = prompts.name;
  json["prompt"]["count"] = prompts.shapes.size();
  json["prompt"]["text"] = (tokens - visual_tokens) / count;
  json["prompt"]["visual"] = visual_tokens / count;
  const auto add = [&](Json& into, const auto& measure) { into = pair_of(prompts, dense, plan, measure); };
  Json& flops = json["flops"] = Json::object();
  add(flops["paper_visual"], [&](const Plan& p, const PromptShape& s) { return paper_flops(p, spec, s); });
  add(flops["exact_visual"], [&](const Plan& p, const PromptShape& s) { return visual_cost(p, spec, s).flops(); });
  add(flops["exact_prefill"], [&](const Plan& p, const PromptShape& s) { return prefill_cost(p, spec, s).flops(); });
  add(flops["exact_decode"], [&](const Plan& p, const PromptShape& s) { return decode_cost(p, spec, s, 0).flops(); });
  const int64_t width = int64_t(size_of(kv_dtype));
  json["kv_dtype"] = short_name(kv_dtype);
  add(json["kv_bytes"], [&](const Plan& p, const PromptShape& s) { return kv_bytes(p, spec, s, 0, width); });
  return json;
}

std::string report_text(const Json& report) {
  const Json& window = report.at("window");
  std::string text = fmt::format("{}, window {}, visual tokens in {}\n\n", report.at("semantics").get<std::string>(),
                                 window_name(window), layers_text(report.at("visual_layers").get<int64_t>()));
  const bool windows = window.is_string();
  const Json& layers = report.at("layers");
  const bool ranks = std::any_of(layers.begin(), layers.end(), [](const Json& row) { return row.contains("rank"); });
  text += fmt::format("    layer   heads   updates   KV heads   neurons{}{}   (for visual tokens)\n",
                      ranks ? "   rank" : "", windows ? "     window" : "");
  for (size_t first = 0, last = 0; first < layers.size(); first = last) {
    for (last = first + 1; last < layers.size() && same_counts(layers[first], layers[last]);) ++last;
    text += layer_line(last - first == 1 ? fmt::format("{}", first) : fmt::format("{} - {}", first, last - 1),
                       layers[first], windows, ranks);
  }
  const Json& prompt = report.at("prompt");
  text += fmt::format("\n{}: {:.4g} text and {:.4g} visual tokens\n{:<36}  {:>12}  {:>12}  {:>6}\n",
                      escaped(prompt.at("name").get<std::string>()), prompt.at("text").get<double>(),
                      prompt.at("visual").get<double>(), "", "dense", "plan", "kept");
  const auto line = [&](std::string_view name, const Json& pair, std::string_view unit) {
    const Json& kept = pair.at("kept");
    text +=
        fmt::format("{:<36}  {:>12}  {:>12}  {:>6}\n", name, scaled(pair.at("dense").get<double>()) + std::string(unit),
                    scaled(pair.at("plan").get<double>()) + std::string(unit),
                    kept.is_null() ? "-" : fmt::format("{:.1f}%", 100 * kept.get<double>()));
  };
  const Json& flops = report.at("flops");
  line("visual tokens, paper convention", flops.at("paper_visual"), "FLOP");
  line("visual tokens, exact", flops.at("exact_visual"), "FLOP");
  line("prefill, exact (text included)", flops.at("exact_prefill"), "FLOP");
  line("first generated token, exact", flops.at("exact_decode"), "FLOP");
  line(fmt::format("KV cache after prefill, {}", report.at("kv_dtype").get<std::string>()), report.at("kv_bytes"), "B");
  return text;
}

}  // namespace yopo
