// The questions that a recipe's figures are of, so that `run`, `run --dry-run` and `plan` name the same percentages.
#pragma once

#include "datasets/sample.h"
#include "exporters/report.h"
#include "models/prompt.h"
#include "pipeline/recipe.h"

namespace yopo {

struct NamedSamples {
  std::string name;  // "20 samples of questions.jsonl"
  std::vector<Sample> samples;
};
/// Of the first evaluation, or without one of the calibration: at most 20, chosen by the recipe's seed. UserError if
/// the recipe names no questions, and as the readers say.
NamedSamples figure_samples(const Recipe& recipe);

std::vector<ModelInput> inputs_of(const Processor& processor, const std::vector<Sample>& samples);
/// Where the tokens of each prompt are.
Prompts prompts_of(const Processor& processor, const NamedSamples& samples);

/// Those of the recipe's own samples; a typical prompt where their files, or the checkpoint's tokenizer and weights,
/// are not there.
Prompts figure_prompts(const Recipe& recipe, const ModelSpec& spec);
/// The same for a plan or checkpoint in the output folder of a recipe; a typical prompt for one that is elsewhere.
Prompts prompts_of_output(const fs::path& result, const ModelSpec& spec);

}  // namespace yopo
