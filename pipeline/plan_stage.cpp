// From statistics to the plans of a recipe: made from its numbers, or searched for.
#include <span>

#include "compress/make_plan.h"
#include "core/progress.h"
#include "core/version.h"
#include "exporters/export.h"
#include "formats/npy.h"
#include "pipeline/stages.h"
#include "runtime/measure_times.h"
#include "search/search.h"

namespace yopo {

namespace {

/// Of everything that a search depends on.
std::string search_fingerprint(const Recipe& recipe, const OpenModel& model, const Statistics& statistics,
                               const std::vector<Sample>& samples, const runtime::Options& run) {
  Fingerprint key;
  key.add(model.checkpoint.fingerprint()).add(statistics.fingerprint).add(dataset_fingerprint(samples));
  key.add(fmt::format("budget {} evaluations {} minutes {} held out {} tokens {} seed {} {} {} {}",
                      budget_text(*recipe.plan->budget), recipe.search.evaluations, recipe.search.minutes,
                      recipe.search.questions, recipe.search.held_out, recipe.search.max_new_tokens, recipe.seed,
                      recipe.compensate
                          ? fmt::format("rank {} ridge {}", recipe.compensate->most_rank, recipe.compensate->ridge)
                          : "no compensation",
                      short_name(runtime::computing_type(run, model.spec.dtype)), tool_version));
  if (!recipe.prompts.text().empty()) key.add(recipe.prompts.text());
  return key.hex();
}

/// The plan in the file, if a search of these inputs found it.
std::optional<Plan> found_before(const fs::path& file, const std::string& fingerprint) {
  if (!fs::exists(file)) return std::nullopt;
  Plan plan = read_plan(file);
  const Json& found = plan.provenance;
  if (!found.contains("search") || found["search"].value("fingerprint", "") != fingerprint || is_unfinished(plan))
    return std::nullopt;
  return plan;
}

/// The journal beside plan.json is search.jsonl, beside plan-0.25.json search-0.25.jsonl, and search-NAME.jsonl else.
fs::path journal_of(const fs::path& plan) {
  const std::string stem = plan.stem().string();
  const std::string rest = stem.starts_with("plan-") ? stem.substr(4) : "";
  return plan.parent_path() / ("search" + rest + ".jsonl");
}

std::string ranking_digest(const Ranking& ranking) {
  Fingerprint digest;
  for (const LayerRanking& layer : ranking)
    for (const std::vector<int64_t>* order : {&layer.heads, &layer.updates, &layer.neurons})
      digest.add(std::as_bytes(std::span(*order)));
  return digest.hex();
}

void say_how_far(const Plan& plan, const fs::path& file) {
  note(fmt::format("{}: {}", file.string(),
                   is_unfinished(plan)
                       ? "the best plan so far of an unfinished search; without --best-so-far it goes on"
                       : "the search has ended: this is its plan"));
}

/// The table that milliseconds are counted with: the recipe's, the one that an earlier run measured, or a new one.
TimeTable times_for(const Recipe& recipe, const OpenModel& model, const std::vector<Sample>& samples,
                    const runtime::Options& engine, const OutputFiles& files) {
  const fs::path given = recipe.search.times, file = given.empty() ? files.times : given;
  const std::string type(short_name(runtime::computing_type(engine, model.spec.dtype)));
  if (given.empty() && !fs::exists(file)) {
    int64_t visual = 0, text = 1;
    const Processor processor(model, recipe.prompts);
    for (const Sample& sample : samples) {
      if (sample.images.empty()) continue;
      const ModelInput input = processor.prepare(sample);
      visual = std::max(visual, input.visual_tokens());
      text = std::max(text, input.length() - input.visual_tokens());
    }
    note(fmt::format("times: {}: measured on this machine ({}), for {} visual and {} text tokens", file.string(),
                     engine.device, visual, text));
    write_json(file, times_to_json(runtime::measure_times(model.spec, visual, text, engine)));
  }
  TimeTable table = read_times(file);
  check_times(table, model.spec.text, engine.device, type, file.string());
  if (table.threads != engine.threads)
    warn(fmt::format("{}: times with {} threads (0: all); this run has {}", file.string(), table.threads,
                     engine.threads));
  return table;
}

/// With other ranks, rank 0 alone has it. In the order of `ranking`, where that is given; else it is measured.
/// `measured`: gets it, from the journal where the plan is there already.
Plan searched_plan(const Recipe& recipe, const OpenModel& model, const Statistics& statistics,
                   const RunSettings& settings, const OutputFiles& files, const Ranking* ranking, Ranking* measured,
                   bool so_far) {
  require(recipe.calibration.has_value(), "{}: plan.budget: a search needs the samples of section calibration",
          recipe.file.string());
  check_statistics(statistics, model, recipe.file.string() + ": plan");
  const std::vector<Sample> samples =
      choose_samples(read_samples(recipe.calibration->dataset), recipe.search.samples, recipe.seed);
  SearchRun run;
  RankGroup* const ranks = run.ranks = settings.ranks;
  const runtime::Options engine = engine_options(settings, recipe.dtype, recipe.device);
  run.fingerprint = search_fingerprint(recipe, model, statistics, samples, engine);
  if (recipe.plan->budget->kind == Budget::Kind::Time) {
    if (!leads(ranks)) ranks->barrier();  // until rank 0 has measured it
    run.times = std::make_shared<const TimeTable>(times_for(recipe, model, samples, engine, files));
    if (ranks && ranks->leads()) ranks->barrier();
    run.fingerprint = Fingerprint().add(run.fingerprint).add(times_to_json(*run.times).dump()).hex();
  }
  if (ranking) {
    run.ranking = *ranking;
    run.fingerprint = Fingerprint().add(run.fingerprint).add(ranking_digest(*ranking)).hex();
  }
  if (ranks) ranks->agree({{"what the search depends on (fingerprint)", run.fingerprint}});
  std::optional<Plan> known;
  if (!measured && leads(ranks)) known = found_before(files.plan, run.fingerprint);
  if (known && so_far) say_how_far(*known, files.plan);
  const bool found_elsewhere = ranks && ranks->broadcast(known ? "found" : "") == "found";
  if (known || found_elsewhere) return known.value_or(Plan{});
  run.budget = *recipe.plan->budget;
  run.search = recipe.search;
  run.compensate = recipe.compensate;
  run.seed = recipe.seed;
  run.dtype = engine.dtype, run.device = engine.device, run.threads = engine.threads, run.memory = engine.memory;
  run.prompts = recipe.prompts;
  run.journal = journal_of(files.plan);
  run.so_far = so_far;
  SearchResult found = search_plan(model, statistics, samples, run);
  if (measured) *measured = std::move(found.ranking);
  if (!leads(ranks)) return {};
  found.plan.provenance["search"]["fingerprint"] = run.fingerprint;
  if (so_far) say_how_far(found.plan, files.plan);
  return found.plan;
}

void keep_plan(const Plan& plan, const OutputFiles& files) {
  const std::optional<Plan> before = fs::exists(files.plan) ? std::optional(read_plan(files.plan)) : std::nullopt;
  if (before && !is_unfinished(*before)) {
    require(plan_to_json(*before) == plan_to_json(plan),
            "{}: another plan is there already; choose another output or remove it together with {}",
            files.plan.string(), files.pruned.string());
  } else {
    // A plan never stands beside the vectors of another one, wherever a kill falls.
    fs::remove(files.plan);
    if (before && is_compensated(*before)) fs::remove(fs::path(files.plan).replace_extension(".safetensors"));
    write_plan(files.plan, plan);
  }
  write_npy_bool(files.head_mask, head_mask(plan));
}

}  // namespace

bool is_unfinished(const Plan& plan) {
  const Json& from = plan.provenance;
  if (!from.is_object() || !from.contains("search") || !from["search"].is_object()) return false;
  const Json flag = from["search"].value("unfinished", Json());
  return flag.is_boolean() && flag.get<bool>();
}

Plan plan_stage(const Recipe& recipe, const OpenModel& model, const Statistics& statistics, const RunSettings& settings,
                const OutputFiles& files, bool so_far) {
  require(recipe.plan.has_value(), "{}: the recipe has no section plan", recipe.file.string());
  require(!so_far || recipe.plan->budget, "{}: --best-so-far: nothing is searched for: section plan has no budget",
          recipe.file.string());
  check_statistics(statistics, model, recipe.file.string() + ": plan");
  Plan plan = recipe.plan->budget
                  ? searched_plan(recipe, model, statistics, settings, files, nullptr, nullptr, so_far)
                  : make_plan(statistics, *recipe.plan, model.spec.text, recipe.file.string() + ": plan");
  if (leads(settings.ranks)) keep_plan(plan, files);
  return plan;
}

OutputFiles files_of_budget(const Recipe& recipe, const OutputFiles& files, const std::string& budget) {
  OutputFiles own = files;
  if (budget.empty() || (recipe.plan && recipe.plan->budget && budget_name(*recipe.plan->budget) == budget)) return own;
  const auto named = [&](fs::path& file) {
    file.replace_filename(fmt::format("{}-{}{}", file.stem().string(), budget, file.extension().string()));
  };
  for (fs::path* file : {&own.plan, &own.head_mask, &own.verify, &own.eval}) named(*file);
  return own;
}

std::vector<BudgetPlan> plans_stage(const Recipe& recipe, const OpenModel& model, const Statistics& statistics,
                                    const RunSettings& settings, const OutputFiles& files, bool so_far) {
  if (recipe.budgets.empty()) return {{"", plan_stage(recipe, model, statistics, settings, files, so_far)}};
  check_statistics(statistics, model, recipe.file.string() + ": plan");
  const size_t lead = recipe.budgets.size() / 2;
  std::vector<BudgetPlan> plans;
  for (const double budget : recipe.budgets) plans.push_back({budget_name(budget), {}});
  Ranking ranking;
  const auto search = [&](size_t i) {
    Recipe own = recipe;
    own.plan->budget = Budget{Budget::Kind::Flops, recipe.budgets[i]};
    const OutputFiles into = files_of_budget(recipe, files, plans[i].budget);
    note(fmt::format("plan for budget {}: {}", plans[i].budget, into.plan.string()));
    plans[i].plan = i == lead ? searched_plan(own, model, statistics, settings, into, nullptr, &ranking, so_far)
                              : searched_plan(own, model, statistics, settings, into, &ranking, nullptr, so_far);
    if (leads(settings.ranks)) keep_plan(plans[i].plan, into);
  };
  search(lead);
  const bool order_known = !is_unfinished(plans[lead].plan);
  std::vector<BudgetPlan> found;
  for (size_t i = 0; i < plans.size(); ++i) {
    if (i != lead) {
      // They are searched for in the order that the first search ends with.
      const fs::path file = files_of_budget(recipe, files, plans[i].budget).plan;
      if (so_far && (!order_known || !fs::exists(journal_of(file)))) {
        note(fmt::format("plan for budget {}: its search has not begun", plans[i].budget));
        continue;
      }
      search(i);
    }
    found.push_back(std::move(plans[i]));
  }
  return found;
}

void export_stage(const Recipe& recipe, const OpenModel& model, const std::vector<BudgetPlan>& plans,
                  const OutputFiles& files) {
  ExportOptions options;
  options.shard_size = recipe.shard_size;
  options.transformers_code = recipe.transformers_code;
  if (plans.size() == 1)
    export_checkpoint(model, plans.front().plan, files.pruned, options);
  else
    export_elastic(model, plans, budget_name(*recipe.plan->budget), files.pruned, options);
}

}  // namespace yopo
