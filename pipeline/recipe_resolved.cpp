// The resolved recipe as text: what --dry-run prints and provenance records. It parses back to the same recipe.
#include "pipeline/recipe.h"
#include "plans/option_schema.h"

namespace yopo {

namespace {

/// ", name: "path"" or nothing for an empty path.
std::string path_field(std::string_view name, const fs::path& path) {
  return path.empty() ? "" : fmt::format(", {}: {}", name, yaml_quoted(path));
}

std::string prompts_text(const PromptOptions& prompts) {
  std::string text;
  if (!prompts.chat_template.empty()) text += ", template: " + yaml_quoted(prompts.chat_template);
  if (!prompts.image_backend.empty()) text += ", image_backend: " + prompts.image_backend;
  if (prompts.exif_transpose) text += ", exif_transpose: true";
  return text;
}

}  // namespace

std::string Recipe::resolved() const {
  std::string out = fmt::format("model: {{path: {}, dtype: {}{}}}\ndevice: {}\nseed: {}\noutput: {}\n",
                                yaml_quoted(model), dtype, prompts_text(prompts), device, seed, yaml_quoted(output));
  if (calibration) {
    const DatasetOptions& dataset = calibration->dataset;
    out += fmt::format("calibration:\n  dataset: {{format: {}, questions: {}{}, samples: {}}}\n  queries: {}\n",
                       dataset.format, yaml_quoted(dataset.questions), path_field("images", dataset.images),
                       dataset.samples, name_of(calibration->queries));
  }
  if (plan) out += plan_options_text(*plan);
  if (plan && plan->budget) {
    out += fmt::format(
        "search: {{evaluations: {}, minutes: {}, samples: {}, questions: {}, held_out: {}, max_new_tokens: {}{}}}\n",
        search.evaluations, search.minutes, search.samples, search.questions, search.held_out, search.max_new_tokens,
        path_field("times", search.times));
    out += compensate
               ? fmt::format("compensate: {{most_rank: {}, ridge: {}}}\n", compensate->most_rank, compensate->ridge)
               : "compensate: none\n";
  }
  out += fmt::format("export: {{shard_size: {}{}{}}}\nverify: {{samples: {}}}\n", shard_size,
                     budgets.empty() ? "" : fmt::format(", budgets: [{}]", fmt::join(budgets, ", ")),
                     transformers_code ? ", transformers_code: true" : "", verify_samples);
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
