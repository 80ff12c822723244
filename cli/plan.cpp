#include <cstdio>

#include "cli/command.h"
#include "compress/make_plan.h"
#include "exporters/report.h"
#include "pipeline/dry_run.h"
#include "pipeline/stages.h"
#include "plans/cost.h"

namespace yopo::cli {

namespace {

struct Flags {
  std::string recipe, stats, model, output;
  std::vector<std::string> overrides;
  std::string heads_keep, heads_scope = "layer", updates_keep, updates_scope = "layer", head_mask, ffn_keep,
                          ffn_score = "wanda", ffn_scope = "layer", window = "none", semantics = "skip";
  std::optional<double> threshold, vote;
  std::optional<int64_t> exempt_layers, visual_layers;
  std::optional<uint64_t> random;
  bool window_causal = false, force = false;
};

Scope scope_of(const std::string& text, const std::string& flag) {
  require(text == "layer" || text == "model", "{}: expected layer or model, found '{}'{}", flag, text,
          did_you_mean(text, {"layer", "model"}));
  return text == "layer" ? Scope::Layer : Scope::Model;
}

PlanOptions options_of(const Flags& flags) {
  PlanOptions options;
  options.semantics = flags.semantics;
  options.visual_layers = flags.visual_layers;
  if (flags.window != "none") {
    const Keep size = parse_keep(flags.window, "--window");
    require(!size.fraction && size.value >= 1, "--window: expected an odd number of tokens or none, found '{}'",
            flags.window);
    options.window = WindowOptions{int64_t(size.value), flags.window_causal};
  }
  const int ways = int(!flags.heads_keep.empty()) + int(flags.threshold.has_value()) + int(!flags.head_mask.empty());
  require(ways <= 1, "--heads-keep, --threshold and --head-mask exclude each other");
  if (ways == 1) {
    HeadOptions heads;
    heads.scope = scope_of(flags.heads_scope, "--heads-scope");
    if (!flags.heads_keep.empty()) heads.keep = parse_keep(flags.heads_keep, "--heads-keep");
    heads.threshold = flags.threshold;
    if (flags.vote) heads.vote = *flags.vote;
    heads.exempt_layers = flags.exempt_layers;
    heads.mask = flags.head_mask;
    options.heads = heads;
  }
  if (!flags.updates_keep.empty()) {
    HeadOptions updates;
    updates.scope = scope_of(flags.updates_scope, "--updates-scope");
    updates.keep = parse_keep(flags.updates_keep, "--updates-keep");
    options.updates = updates;
  }
  if (!flags.ffn_keep.empty()) {
    FfnOptions ffn;
    ffn.keep = parse_keep(flags.ffn_keep, "--ffn-keep");
    ffn.score = parse_score(flags.ffn_score, "--ffn-score");
    ffn.scope = scope_of(flags.ffn_scope, "--ffn-scope");
    options.ffn = ffn;
  }
  return options;
}

int plan_command(const Flags& flags, const Context& context) {
  Plan plan;
  DecoderSpec spec;
  ModelSpec model_spec;
  fs::path output = flags.output;
  if (!flags.recipe.empty()) {
    const Recipe recipe = read_recipe(flags.recipe, flags.overrides);
    const OutputFolder folder(recipe);
    const OpenModel model = open_model(recipe.model);
    model_spec = model.spec;
    OutputFiles files = folder.files();
    if (!output.empty()) {
      files.plan = output;
      files.head_mask = output.parent_path() / "headmask.npy";
    }
    const fs::path stats = flags.stats.empty() ? files.statistics : fs::path(flags.stats);
    const bool none = !fs::exists(stats) && flags.stats.empty() && recipe.plan && !needs_statistics(*recipe.plan);
    require(none || fs::exists(stats), "{}: no statistics yet; run `yopo calibrate {}` first", stats.string(),
            flags.recipe);
    plan = plan_stage(recipe, model, none ? no_statistics(model_spec.text) : read_statistics(stats), files);
    output = files.plan;
  } else {
    need(!flags.model.empty() && !output.empty(), "plan", "give a recipe, or --model, --output and usually --stats");
    const fs::path config = config_file(flags.model);
    model_spec = spec_from_config(read_json(config), config.string());
    const PlanOptions options = options_of(flags);
    if (flags.random && flags.stats.empty()) {  // random choices need only the counts
      plan = estimate_plan(options, model_spec.text).plan;
    } else {
      require(!flags.stats.empty() || !needs_statistics(options),
              "yopo plan: choosing heads or neurons needs --stats (from yopo calibrate)");
      const Statistics statistics = flags.stats.empty() ? no_statistics(model_spec.text) : read_statistics(flags.stats);
      plan = make_plan(statistics, options, model_spec.text, "yopo plan");
    }
    if (flags.random) plan = random_plan(plan, model_spec.text, *flags.random);
    require(flags.force || !fs::exists(output) || plan_to_json(read_plan(output)) == plan_to_json(plan),
            "{}: another plan is there already; choose another name or pass --force", output.string());
    write_plan(output, plan);
  }
  const Json summary = report(plan, model_spec);
  if (context.json) {
    print_json({{"output", output.string()}, {"report", summary}});
  } else {
    std::printf("%s\n%s", output.c_str(), report_text(summary).c_str());
  }
  return 0;
}

}  // namespace

void add_plan(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = add_command(
      app, context, "plan", "Turn statistics into plan.json (no model is run)",
      "yopo plan --model examples/digitgrid/model --stats stats.h5 --updates-keep 0.25 \\\n"
      "      --ffn-keep 0.25 --ffn-scope model --window 3 --window-causal --visual-layers 10 --output plan.json");
  command->add_option("recipe", flags->recipe, "Recipe file (instead of the flags)");
  command->add_option("--set", flags->overrides, "Override a key of the recipe: a.b=c");
  command->add_option("--stats", flags->stats, "Statistics file");
  command->add_option("--model", flags->model, "Checkpoint folder, or a config.json alone");
  command->add_option("--heads-keep", flags->heads_keep, "Heads kept: a count (24) or a fraction (0.75)");
  command->add_option("--heads-scope", flags->heads_scope, "Rank heads within each layer or across the model");
  command->add_option("--threshold", flags->threshold, "Keep heads whose ratio exceeds this in enough samples");
  command->add_option("--vote", flags->vote, "The share of samples that must be exceeded (0.4)");
  command->add_option("--exempt-layers", flags->exempt_layers, "First layers that keep all heads");
  command->add_option("--head-mask", flags->head_mask, "A ready head mask [layers, heads]: .npy, or of torch.save");
  command->add_option("--updates-keep", flags->updates_keep,
                      "Heads that visual queries compute, a count or a fraction of all");
  command->add_option("--updates-scope", flags->updates_scope, "layer or model");
  command->add_option("--ffn-keep", flags->ffn_keep, "FFN neurons for visual tokens, a count or a fraction");
  command->add_option("--ffn-score", flags->ffn_score, "mean_abs, rms, active or wanda");
  command->add_option("--ffn-scope", flags->ffn_scope, "layer or model");
  command->add_option("--window", flags->window, "Side of the neighbourhood a visual query reads, odd, or none");
  command->add_flag("--window-causal", flags->window_causal, "Only earlier neighbours");
  command->add_option("--visual-layers", flags->visual_layers, "Visual tokens are computed in this many layers");
  command->add_option("--semantics", flags->semantics, "skip, llava or qwen2_vl");
  command->add_option("--random", flags->random,
                      "Random heads and neurons at the same counts, from this seed (a control)");
  command->add_flag("--force", flags->force, "Replace an existing plan");
  command->add_option("--output", flags->output, "Plan file to write");
  command->callback([flags, &context] { context.run = [flags, &context] { return plan_command(*flags, context); }; });
}

}  // namespace yopo::cli
