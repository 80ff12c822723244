// Plans that run a model on samples: searched for within a budget, or as a recipe says.
#include "compress/make_plan.h"
#include "core/interrupt.h"
#include "exporters/report.h"
#include "library/boundary.h"
#include "pipeline/recipe.h"
#include "pipeline/stages.h"
#include "yopo/yopo.h"

namespace yopo {
inline namespace v0 {
namespace {

/// Where a plan that is not in a recipe's folder lies, with what goes beside it.
OutputFiles files_around(OutputFiles files, const std::filesystem::path& plan) {
  files.plan = plan;
  files.head_mask = plan.parent_path() / "headmask.npy";
  return files;
}

}  // namespace

std::string search_plan(const SearchSettings& settings) {
  return library::at_boundary([&] {
    for (const auto& [path, name] :
         {std::pair(&settings.model, "model"), std::pair(&settings.statistics, "statistics"),
          std::pair(&settings.questions, "questions"), std::pair(&settings.output, "output")})
      require(!path->empty(), "SearchSettings::{} is missing", name);
    const StopWish wish(settings.stop);
    Recipe recipe = parse_recipe("model: x\noutput: x\n", "SearchSettings::options", settings.options);
    require(recipe.plan && recipe.plan->budget, "SearchSettings::options: there is no plan.budget");
    recipe.model = settings.model;
    recipe.device = settings.device;
    recipe.dtype = settings.dtype;
    recipe.seed = settings.seed;
    recipe.prompts.chat_template = settings.chat_template;
    recipe.calibration = CalibrationOptions();
    recipe.calibration->dataset.format = settings.format;
    recipe.calibration->dataset.questions = settings.questions;
    recipe.calibration->dataset.images = settings.images;
    const OpenModel model = open_model(settings.model);
    const Plan found = plan_stage(recipe, model, read_statistics(settings.statistics),
                                  {settings.threads, settings.memory}, files_around({}, settings.output));
    return report_text(report(found, model.spec, typical_prompt(model.spec), running_type(model.spec)));
  });
}

RecipePlan plan_of_recipe(const RecipeSettings& settings) {
  return library::at_boundary([&] {
    require(!settings.recipe.empty(), "RecipeSettings::recipe is missing");
    const StopWish wish(settings.stop);
    const Recipe recipe = read_recipe(settings.recipe, settings.overrides);
    const OpenModel model = open_recipe_model(recipe);
    // Where statistics and plan lie elsewhere, the recipe's folder is neither read nor written.
    std::optional<OutputFolder> folder;
    if (settings.statistics.empty() || settings.output.empty()) folder.emplace(recipe);
    OutputFiles files = output_files(recipe.output);
    if (!settings.output.empty()) files = files_around(files, settings.output);
    const fs::path stats = settings.statistics.empty() ? files.statistics : settings.statistics;
    const bool none =
        settings.statistics.empty() && !fs::exists(stats) && recipe.plan && !needs_statistics(*recipe.plan);
    require(none || fs::exists(stats), "{}: no statistics yet; calibrate first", stats.string());
    plans_stage(recipe, model, none ? no_statistics(model.spec.text) : read_statistics(stats),
                {settings.threads, settings.memory}, files);
    return RecipePlan{files.plan, recipe.model};
  });
}

}  // namespace v0
}  // namespace yopo
