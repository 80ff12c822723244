// The resolved recipe as text: what --dry-run prints and provenance records. It parses back to the same recipe.
#include <cmath>

#include "core/error.h"
#include "pipeline/recipe.h"

namespace yopo {

namespace {

/// Always in double quotes: no word of a path can then be taken for a number, a null or a tag.
std::string quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02X}", byte);
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// Shortest text that reads back as the same number, always with a decimal point or exponent.
std::string decimal(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string keep_text(const Keep& keep) {
  return keep.fraction ? decimal(keep.value) : fmt::format("{}", int64_t(keep.value));
}
std::string_view scope_text(Scope scope) { return scope == Scope::Model ? "model" : "layer"; }

std::string heads_text(const HeadOptions& heads) {
  if (heads.threshold)
    return fmt::format("{{threshold: {}, vote: {}, exempt_layers: {}}}", decimal(*heads.threshold), decimal(heads.vote),
                       heads.exempt_layers.value_or(2));
  if (heads.keep)
    return fmt::format("{{keep: {}, scope: {}, exempt_layers: {}}}", keep_text(*heads.keep), scope_text(heads.scope),
                       heads.exempt_layers.value_or(0));
  return fmt::format("{{mask: {}}}", quote(heads.mask));
}

std::string plan_text(const PlanOptions& plan) {
  std::string out = "plan:\n";
  out += plan.window ? fmt::format("  window: {{size: {}, causal: {}}}\n", plan.window->size, plan.window->causal)
                     : "  window: none\n";
  if (plan.heads) out += fmt::format("  heads: {}\n", heads_text(*plan.heads));
  if (plan.updates) out += fmt::format("  updates: {}\n", heads_text(*plan.updates));
  if (plan.ffn)
    out += fmt::format("  ffn: {{keep: {}, score: {}, scope: {}}}\n", keep_text(plan.ffn->keep),
                       name_of(plan.ffn->score), scope_text(plan.ffn->scope));
  if (plan.visual_layers) out += fmt::format("  visual_layers: {}\n", *plan.visual_layers);
  return out + fmt::format("  semantics: {}\n", plan.semantics);
}

/// ", name: "path"" or nothing for an empty path.
std::string path_field(std::string_view name, const fs::path& path) {
  return path.empty() ? "" : fmt::format(", {}: {}", name, quote(path));
}

}  // namespace

std::string Recipe::resolved() const {
  std::string out = fmt::format("model: {{path: {}, dtype: {}}}\ndevice: {}\nseed: {}\noutput: {}\n", quote(model),
                                dtype, device, seed, quote(output));
  if (calibration) {
    const DatasetOptions& dataset = calibration->dataset;
    out += fmt::format("calibration:\n  dataset: {{format: {}, questions: {}{}, samples: {}}}\n  queries: {}\n",
                       dataset.format, quote(dataset.questions), path_field("images", dataset.images), dataset.samples,
                       name_of(calibration->queries));
  }
  if (plan) out += plan_text(*plan);
  out += fmt::format("export: {{shard_size: {}}}\nverify: {{samples: {}}}\n", shard_size, verify_samples);
  if (!evaluate.empty()) out += "evaluate:\n";
  for (const EvaluateOptions& run : evaluate)
    out += fmt::format(
        "  - {{benchmark: {}{}{}{}, samples: {}, batch_size: {}, max_new_tokens: {}{}{}}}\n", run.benchmark,
        path_field("questions", run.dataset.questions), path_field("images", run.dataset.images),
        path_field("annotations", run.dataset.annotations), run.dataset.samples, run.batch_size, run.max_new_tokens,
        run.protocol.empty() ? "" : ", protocol: " + run.protocol, run.rule.empty() ? "" : ", rule: " + run.rule);
  return out;
}

}  // namespace yopo
