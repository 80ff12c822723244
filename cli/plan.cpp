#include "cli/output.h"
#include "cli/plan_flags.h"
#include "cli/table.h"
#include "compress/make_plan.h"
#include "exporters/report.h"
#include "pipeline/samples.h"
#include "pipeline/stages.h"
#include "pipeline/sweep.h"
#include "pipeline/together.h"

namespace yopo::cli {

namespace {

constexpr const char* kOwnPrompts = "For your prompts: yopo inspect MODEL --plan FILE --questions FILE --images DIR\n";

struct PlanCommandFlags {
  std::string recipe, stats, model, output;
  std::vector<std::string> overrides, sweep;
  std::shared_ptr<PlanFlags> options = std::make_shared<PlanFlags>();
  std::optional<uint64_t> random;
  bool force = false, best_so_far = false;
};

/// What the command made, and what it is to be reported on.
struct Made {
  Plan plan;
  ModelSpec spec;
  Prompts prompts;
  DType kv_dtype = DType::F32;
  fs::path file;
  bool unfinished = false;
};

Made plan_of_recipe(const PlanCommandFlags& flags, const RunSettings& settings) {
  const Recipe recipe = read_recipe(flags.recipe, flags.overrides);
  const OpenModel model = open_recipe_model(recipe);
  // Where statistics and plan lie elsewhere, the recipe's folder is neither read nor written.
  std::optional<OutputFolder> folder;
  if (settings.ranks) agree_on_recipe(*settings.ranks, recipe, model, resolve_device(recipe.device));
  if (flags.stats.empty() || flags.output.empty()) folder.emplace(recipe, settings.ranks);
  OutputFiles files = output_files(recipe.output);
  if (!flags.output.empty()) {
    files.plan = flags.output;
    files.head_mask = files.plan.parent_path() / "headmask.npy";
  }
  const fs::path stats = flags.stats.empty() ? files.statistics : fs::path(flags.stats);
  const bool none = !fs::exists(stats) && flags.stats.empty() && recipe.plan && !needs_statistics(*recipe.plan);
  require(none || fs::exists(stats), "{}: no statistics yet; run `yopo calibrate {}` first", stats.string(),
          flags.recipe);
  const std::vector<BudgetPlan> plans =
      plans_stage(recipe, model, none ? no_statistics(model.spec.text) : read_statistics(stats), settings, files,
                  flags.best_so_far);
  if (!leads(settings.ranks)) return {};
  const BudgetPlan* shown = &plans.front();
  for (const BudgetPlan& one : plans)
    if (!one.budget.empty() && one.budget == budget_name(*recipe.plan->budget)) shown = &one;
  return {shown->plan,
          model.spec,
          figure_prompts(recipe, model.spec),
          running_type(model.spec, recipe.dtype, recipe.device),
          files_of_budget(recipe, files, shown->budget).plan,
          is_unfinished(shown->plan)};
}

Made plan_of_flags(const PlanCommandFlags& flags) {
  need(!flags.best_so_far, "plan", "--best-so-far looks at the search of a recipe: give one");
  need(!flags.model.empty() && !flags.output.empty(), "plan",
       "give a recipe, or --model, --output and usually --stats");
  Made made;  // member by member: where an initialiser of the braces throws, GCC 12 destroys what was never made
  made.spec = spec_of(flags.model);
  made.kv_dtype = running_type(made.spec);
  made.prompts = typical_prompt(made.spec);
  made.file = flags.output;
  const DecoderSpec& spec = made.spec.text;
  const PlanOptions options = flags.options->options("plan", option_flag);
  const OptionPlace place = flag_place("plan", option_flag);
  require(!options.budget, "plan: --budget: a search runs the model on samples: give a recipe with plan.budget");
  if (flags.random && flags.stats.empty()) {  // random choices need only the counts
    SizedPlan sized = sized_plan(options, spec, place);
    require(sized.known, "plan: how many heads pass a threshold is in the statistics: give --stats");
    made.plan = std::move(sized.plan);
  } else {
    require(!flags.stats.empty() || !needs_statistics(options),
            "plan: choosing heads or neurons needs --stats (from yopo calibrate)");
    made.plan = make_plan(flags.stats.empty() ? no_statistics(spec) : statistics_for(flags.model, flags.stats), options,
                          spec, place);
  }
  if (flags.random) made.plan = random_plan(made.plan, spec, *flags.random);
  require(flags.force || !fs::exists(made.file) || read_plan(made.file) == made.plan,
          "{}: another plan is there already; choose another name or pass --force", made.file.string());
  write_plan(made.file, made.plan);
  return made;
}

int sweep_command(const PlanCommandFlags& flags, const Context& context) {
  need(!flags.recipe.empty(), "plan", "--sweep searches with the model and the samples of a recipe: give one");
  std::vector<std::string> budgets;
  for (const std::string& text : flags.sweep) budgets.push_back(parse_budget(text, "--sweep"));
  const Recipe recipe = read_recipe(flags.recipe, flags.overrides);
  const OpenModel model = open_recipe_model(recipe);
  RankGroup* const ranks = context.ranks.get();
  if (ranks) agree_on_recipe(*ranks, recipe, model, resolve_device(recipe.device));
  const OutputFolder folder(recipe, ranks);
  const fs::path stats = flags.stats.empty() ? folder.files().statistics : fs::path(flags.stats);
  require(fs::exists(stats), "{}: no statistics yet; run `yopo calibrate {}` first", stats.string(), flags.recipe);
  const Json curve = sweep(recipe, model, read_statistics(stats), context.settings(), folder.files(), budgets);
  if (context.follows()) return 0;
  if (context.json)
    print_json(curve);
  else
    print(format_table(sweep_rows(curve)));
  return 0;
}

int plan_command(const PlanCommandFlags& flags, const Context& context) {
  need(flags.sweep.empty() || !flags.best_so_far, "plan", "give --sweep or --best-so-far, not both");
  if (!flags.sweep.empty()) return sweep_command(flags, context);
  // Nothing is measured without a recipe, nor for --best-so-far: nothing to share.
  const bool shared = !flags.recipe.empty() && !flags.best_so_far;
  if (!shared && context.follows()) return 0;
  RunSettings settings = context.settings();
  if (!shared) settings.ranks = nullptr;
  const Made made = flags.recipe.empty() ? plan_of_flags(flags) : plan_of_recipe(flags, settings);
  if (context.follows()) return 0;
  const Json summary = report(made.plan, made.spec, made.prompts, made.kv_dtype);
  if (context.json)
    print_json(made.unfinished ? Json{{"output", made.file.string()}, {"unfinished", true}, {"report", summary}}
                               : Json{{"output", made.file.string()}, {"report", summary}});
  else
    print(fmt::format("{}{}\n{}{}", escaped(made.file.string()),
                      made.unfinished ? ": the best plan so far of an unfinished search" : "", report_text(summary),
                      flags.recipe.empty() ? kOwnPrompts : ""));
  return 0;
}

}  // namespace

void add_plan(CLI::App& app, Context& context) {
  auto flags = std::make_shared<PlanCommandFlags>();
  CLI::App* command = add_command(
      app, context, Runs::Model, "plan",
      "Turn statistics into plan.json (a model is run only for a recipe's plan.budget)",
      "yopo plan --model examples/digitgrid/model --stats stats.h5 --updates-keep 0.25 \\\n"
      "      --ffn-keep 0.25 --ffn-scope model --window 3 --window-causal --visual-layers 10 --output plan.json");
  add_recipe_flags(command, flags->recipe, flags->overrides);
  command->add_option("--stats", flags->stats, "Statistics file");
  command->add_option("--model", flags->model, "Checkpoint folder, or a config.json alone");
  add_plan_flags(command, flags->options, option_flag);
  command
      ->add_option("--random", flags->random, "Random heads and neurons at the same counts, from this seed (a control)")
      ->check(whole_number(0));
  command
      ->add_option(
          "--sweep", flags->sweep,
          "Budgets, separated by commas: searches a plan for each, beside the recipe's own, and shows the curve")
      ->delimiter(',');
  command->add_flag("--best-so-far", flags->best_so_far,
                    "Of a search that was interrupted (plan.budget): write the best plan that it has measured");
  command->add_flag("--force", flags->force, "Replace an existing plan");
  command->add_option("--output", flags->output, "Plan file to write");
  command->callback([flags, command, &context] {
    context.shares = true;
    context.run = [flags, command, &context] {
      check_recipe_flags(*command, {"--stats", "--output", "--sweep", "--best-so-far"});
      return plan_command(*flags, context);
    };
  });
}

}  // namespace yopo::cli
