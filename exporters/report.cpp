#include "exporters/report.h"

#include <algorithm>

#include "core/error.h"

namespace yopo {
namespace {

Json pair_of(double dense, double plan) {
  Json json = Json::object();
  json["dense"] = dense;
  json["plan"] = plan;
  json["kept"] = dense > 0 ? Json(plan / dense) : Json();
  return json;
}

int64_t ones(const std::vector<uint8_t>& flags) { return std::count(flags.begin(), flags.end(), uint8_t(1)); }

double paper_of(const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt) {
  if (prompt.spans.empty()) return 0;
  const Span& image = prompt.spans.front();
  return paper_flops(plan, spec, image.count(), image.rows, image.columns);
}

// 14.89 T, 41.20 G, 512: two decimals, as the paper writes them, and a decimal prefix.
std::string scaled(double value) {
  static const std::vector<std::pair<double, std::string_view>> prefixes{
      {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  for (const auto& [factor, prefix] : prefixes)
    if (value >= factor) return fmt::format("{:.2f} {}", value / factor, prefix);
  return fmt::format("{:.0f} ", value);
}

std::string layer_line(std::string_view layers, const Json& row) {
  const auto cell = [&](const char* key) { return row.at(key).get<int64_t>(); };
  return fmt::format("{:>9}  {:>6}  {:>8}  {:>9}  {:>8}\n", layers, cell("heads"), cell("updates"), cell("kv_heads"),
                     cell("neurons"));
}

bool same_counts(const Json& a, const Json& b) {
  return a.at("heads") == b.at("heads") && a.at("updates") == b.at("updates") && a.at("kv_heads") == b.at("kv_heads") &&
         a.at("neurons") == b.at("neurons");
}

}  // namespace

PromptShape typical_prompt(const ModelSpec& spec) {
  const int64_t grid = spec.nominal_grid();
  return single_image_shape(35, grid, grid, 64);
}

Json report(const Plan& plan, const ModelSpec& model, const std::optional<PromptShape>& given) {
  const DecoderSpec& spec = model.text;
  check_plan(plan, spec, "report");
  const PromptShape prompt = given ? *given : typical_prompt(model);
  const Plan dense = dense_plan(spec);
  Json json = Json::object();
  json["semantics"] = name_of(plan.semantics);
  json["window"] = window_to_json(plan.window);
  json["visual_layers"] = plan.visual_layers;
  json["layers"] = Json::array();
  const HeadMask kv_heads = visual_kv_heads(plan, spec);
  const auto heads = plan.head_counts(), updates = plan.update_counts(),
             neurons = plan.ffn_counts(spec.intermediate_size);
  for (size_t layer = 0; layer < plan.heads.size(); ++layer) {
    const bool visual = int64_t(layer) < plan.visual_layers;
    Json row = Json::object();
    row["layer"] = layer;
    row["heads"] = heads[layer];
    row["updates"] = updates[layer];
    row["kv_heads"] = visual ? ones(kv_heads[layer]) : 0;
    row["neurons"] = visual ? neurons[layer] : 0;
    json["layers"].push_back(std::move(row));
  }
  int64_t visual_tokens = 0;
  for (const Span& span : prompt.spans) visual_tokens += span.count();
  json["prompt"]["text"] = prompt.length - visual_tokens;
  json["prompt"]["visual"] = visual_tokens;
  Json& flops = json["flops"] = Json::object();
  flops["paper_visual"] = pair_of(paper_of(dense, spec, prompt), paper_of(plan, spec, prompt));
  flops["exact_visual"] = pair_of(visual_cost(dense, spec, prompt).flops(), visual_cost(plan, spec, prompt).flops());
  flops["exact_prefill"] = pair_of(prefill_cost(dense, spec, prompt).flops(), prefill_cost(plan, spec, prompt).flops());
  flops["exact_decode"] =
      pair_of(decode_cost(dense, spec, prompt, 0).flops(), decode_cost(plan, spec, prompt, 0).flops());
  const int64_t width = int64_t(size_of(model.dtype));
  const int64_t whole = kv_bytes(dense, spec, prompt, 0, width), held = kv_bytes(plan, spec, prompt, 0, width);
  json["kv_bytes"] = pair_of(double(whole), double(held));
  json["kv_bytes"]["dense"] = whole;
  json["kv_bytes"]["plan"] = held;
  return json;
}

std::string report_text(const Json& report) {
  const Json& window = report.at("window");
  std::string text = fmt::format(
      "{}, window {}, visual tokens in layers [0, {})\n\n", report.at("semantics").get<std::string>(),
      window.is_null()
          ? "none"
          : fmt::format("{}{}", window.at("size").get<int64_t>(), window.at("causal").get<bool>() ? " causal" : ""),
      report.at("visual_layers").get<int64_t>());
  text += "    layer   heads   updates   KV heads   neurons   (for visual tokens)\n";
  const Json& layers = report.at("layers");
  for (size_t first = 0, last = 0; first < layers.size(); first = last) {
    for (last = first + 1; last < layers.size() && same_counts(layers[first], layers[last]);) ++last;
    text += layer_line(last - first == 1 ? fmt::format("{}", first) : fmt::format("{} - {}", first, last - 1),
                       layers[first]);
  }
  const Json& prompt = report.at("prompt");
  text += fmt::format("\nprompt of {} text and {} visual tokens        dense          plan    kept\n",
                      prompt.at("text").get<int64_t>(), prompt.at("visual").get<int64_t>());
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
  line("KV cache after prefill", report.at("kv_bytes"), "B");
  return text;
}

}  // namespace yopo
