// What a recipe would do and need, without doing it.
#pragma once

#include "core/json.h"
#include "pipeline/recipe.h"
#include "pipeline/stages.h"

namespace yopo {

/// Resolved settings, FLOPs in both conventions, memory and disk needed, and in "problems" what would stop the run:
/// question files, annotations and images that are not there or damaged (of more than 1,000 images a file, 1,000), a
/// device that is not there, a plan or model that cannot be exported. The model may be a folder with config.json only,
/// or that file; with weights, tokenizer and questions the figures are of the samples that `yopo run` shows, else of a
/// typical prompt.
Json dry_run(const Recipe& recipe, const RunSettings& settings);
/// The same as text.
std::string dry_run_text(const Json& dry_run);

}  // namespace yopo
