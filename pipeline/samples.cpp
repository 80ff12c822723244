#include "pipeline/samples.h"

#include "core/error.h"
#include "core/system_error.h"
#include "pipeline/stages.h"

namespace yopo {
namespace {

constexpr int64_t kFigureSamples = 20;

}  // namespace

NamedSamples figure_samples(const Recipe& recipe) {
  require(!recipe.evaluate.empty() || recipe.calibration, "{}: no questions: give calibration.dataset or evaluate",
          recipe.file.string());
  std::vector<Sample> samples = recipe.evaluate.empty() ? read_samples(recipe.calibration->dataset)
                                                        : *open_benchmark(recipe.evaluate.front(), true).samples;
  const DatasetOptions& dataset =
      recipe.evaluate.empty() ? recipe.calibration->dataset : recipe.evaluate.front().dataset;
  const fs::path& file = dataset.questions.empty() ? dataset.images : dataset.questions;
  NamedSamples named{"", choose_samples(std::move(samples), kFigureSamples, recipe.seed)};
  named.name = fmt::format("{} samples of {}", named.samples.size(), file.string());
  return named;
}

std::vector<ModelInput> inputs_of(const Processor& processor, const std::vector<Sample>& samples) {
  std::vector<ModelInput> inputs;
  inputs.reserve(samples.size());
  for (const Sample& sample : samples) inputs.push_back(processor.prepare(sample));
  return inputs;
}

Prompts prompts_of(const Processor& processor, const NamedSamples& samples) {
  Prompts prompts{samples.name, {}};
  for (const Sample& sample : samples.samples) prompts.shapes.push_back(shape_of(processor.prepare(sample)));
  return prompts;
}

Prompts figure_prompts(const Recipe& recipe, const ModelSpec& spec) {
  try {
    return prompts_of(Processor(open_model(recipe.model), recipe.prompts), figure_samples(recipe));
  } catch (const SystemError&) {
    throw;
  } catch (const UserError&) {
    return typical_prompt(spec);
  }
}

Prompts prompts_of_output(const fs::path& result, const ModelSpec& spec) {
  const fs::path file = output_files((result / "").lexically_normal().parent_path().parent_path()).recipe;
  if (!fs::exists(file)) return typical_prompt(spec);
  try {
    return figure_prompts(read_recipe(file), spec);
  } catch (const SystemError&) {
    throw;
  } catch (const UserError&) {
    return typical_prompt(spec);
  }
}

}  // namespace yopo
