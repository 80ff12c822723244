#include <algorithm>

#include "calibration/statistics.h"
#include "core/system_error.h"
#include "evaluation/compare.h"
#include "evaluation/evaluate.h"
#include "evaluation/flips.h"
#include "evaluation/verify.h"
#include "images/codecs.h"
#include "images/resize.h"
#include "pipeline/samples.h"
#include "pipeline/stages.h"
#include "plans/cost.h"
#include "report/data.h"

namespace yopo {
namespace {

constexpr size_t kLost = 6, kWon = 3;  // flips shown of each benchmark
constexpr int64_t kSide = 144;         // pixels of their images, at most

void read_ratio(const fs::path& file, ReportData& into) {
  const Statistics statistics = read_statistics(file);
  const auto L = size_t(statistics.layers), H = size_t(statistics.heads);
  into.ratio.assign(L, std::vector<double>(H, 0));
  for (size_t i = 0; i < statistics.ratio.size(); ++i)
    into.ratio[i / H % L][i % H] += statistics.ratio[i] / double(statistics.samples());
  into.all_neurons = statistics.intermediate_size;
  into.statistics_fingerprint = statistics.fingerprint;
  into.statistics_samples = statistics.samples();
}

void add_layers(const Plan& plan, ReportData& into) {
  for (const LayerPlan& layer : plan.layers) {
    KeptLayer& kept = into.layers.emplace_back();
    kept.alive = layer.alive;
    for (size_t h = 0; h < layer.heads.size(); ++h)
      kept.heads.push_back(!layer.alive || !layer.heads[h] ? HeadUse::Dropped
                           : layer.updates[h]              ? HeadUse::Updated
                                                           : HeadUse::Read);
    const int64_t all = into.all_neurons > 0 ? into.all_neurons : -1;
    kept.neurons = !layer.alive ? 0 : layer.neurons ? int64_t(layer.neurons->size()) : all;
    if (layer.alive && layer.window)
      kept.window = fmt::format("{}{}", layer.window->size, layer.window->causal ? " causal" : "");
    if (layer.compensation) kept.rank = layer.compensation->rank;
  }
}

/// What a search that fitted compensation wrote down of it: [[without, with] or null, a layer each].
void read_stream_errors(const Json& provenance, const std::string& where, ReportData& into) {
  if (!provenance.is_object() || !provenance.contains("compensation")) return;
  const std::string place = where + ": provenance: compensation";
  const Json& all = provenance["compensation"];
  require(all.is_array() && all.size() == into.layers.size(), "{}: expected {} layers", place, into.layers.size());
  for (const Json& one : all) {
    require(one.is_null() || (one.is_array() && one.size() == 2 && one[0].is_number() && one[1].is_number()),
            "{}: expected two numbers or null a layer", place);
    into.errors.push_back(one.is_null() ? StreamError{} : StreamError{one[0].get<double>(), one[1].get<double>()});
    require(into.errors.back().without >= 0 && into.errors.back().with >= 0, "{}: expected no number below 0", place);
  }
}

struct Pricing {
  DecoderSpec spec;
  std::vector<PromptShape> shapes;
  double dense = 0;  // FLOPs
};

/// Of one layer, mean over the prompts.
FlopParts parts_of(const LayerPlan& layer, const Pricing& pricing) {
  LayerPlan bare = layer;
  bare.compensation = nullptr;
  FlopParts parts;
  for (const PromptShape& shape : pricing.shapes) {
    int64_t visual = 0;
    for (const Span& span : shape.spans) visual += span.count();
    const Cost cost = layer_prefill_cost(layer, pricing.spec, shape);
    const Cost plain = layer_prefill_cost(bare, pricing.spec, shape);
    const Cost text = layer_prefill_cost(bare, pricing.spec, {shape.length - visual, {}});
    const double scale = 2 / double(pricing.shapes.size());
    parts.projections += scale * (plain.projections - text.projections);
    parts.attention += scale * (plain.attention - text.attention);
    parts.ffn += scale * (plain.ffn - text.ffn);
    parts.compensation += scale * (cost.ffn - plain.ffn);
  }
  return parts;
}

/// Counts alone decide the price, so any heads and neurons will do.
double share_of(const LevelCounts& levels, const void* with) {
  const auto& pricing = *static_cast<const Pricing*>(with);
  const DecoderSpec& spec = pricing.spec;
  double flops = 0;
  for (const std::vector<int64_t>& level : levels) {
    if (level[0] > spec.num_attention_heads || level[1] > level[0] || level[2] > spec.intermediate_size) return 0;
    LayerPlan layer;
    layer.heads = layer.updates = HeadFlags(size_t(spec.num_attention_heads), 0);
    std::fill_n(layer.heads.begin(), std::max<int64_t>(level[0], 0), uint8_t(1));
    std::fill_n(layer.updates.begin(), std::max<int64_t>(level[1], 0), uint8_t(1));
    layer.neurons.emplace(size_t(std::max<int64_t>(level[2], 0)));
    if (level[3] > 0 && level[1] > 0) layer.window = Window{level[3] | 1, true};
    if (level[4] >= 0) {
      auto added = std::make_shared<Compensation>();
      added->rank = level[4];
      layer.compensation = std::move(added);
    }
    flops += parts_of(layer, pricing).sum();
  }
  return pricing.dense > 0 ? flops / pricing.dense : 0;
}

/// The image, made small enough to lie in the page.
void add_picture(const Sample& sample, ShownFlip& flip, ReportData& into) {
  try {
    if (sample.images.empty() && sample.encoded.empty()) return;
    Image image = sample.images.empty() ? read_image(sample.encoded.front(), sample.where)
                                        : read_image(sample.images.front(), sample.where);
    const int64_t longest = std::max(image.width, image.height);
    if (longest > kSide)
      image = resize(image, std::max<int64_t>(1, image.width * kSide / longest),
                     std::max<int64_t>(1, image.height * kSide / longest), 2);
    flip.image = encode_png(image);
    flip.width = image.width, flip.height = image.height;
  } catch (const SystemError&) {
    throw;
  } catch (const UserError& error) {
    into.notes.emplace_back(error.what());
  }
}

void add_flips(const OpenBenchmark& benchmark, const AnswerComparison& compared, ReportData& into) {
  const auto add = [&](const std::vector<Flip>& flips, size_t most, bool lost) {
    for (size_t i = 0; i < std::min(most, flips.size()); ++i) {
      const Sample& sample = (*benchmark.samples)[flips[i].sample];
      ShownFlip flip{compared.benchmark, flips[i].id, sample.text, "", flips[i].before, flips[i].after, lost};
      if (!sample.answers.empty()) flip.expected = sample.answers.front();
      add_picture(sample, flip, into);
      into.flips.push_back(std::move(flip));
    }
  };
  add(compared.right_to_wrong, kLost, true);
  add(compared.wrong_to_right, kWon, false);
}

/// Interval and flips of one benchmark of the recipe, where questions and both sides' answers are there.
void compare_side_by_side(const EvaluateOptions& options, const fs::path& answers, ScoreRow& row, ReportData& into) {
  const fs::path before = answers_file(answers, options.benchmark, false);
  const fs::path after = answers_file(answers, options.benchmark, true);
  if (!fs::exists(before) || !fs::exists(after)) return;
  std::optional<OpenBenchmark> benchmark;
  try {
    benchmark = open_benchmark(options, true);
  } catch (const SystemError&) {
    throw;
  } catch (const UserError& error) {  // outside of the folder: it may have moved
    into.notes.emplace_back(error.what());
    return;
  }
  if (!benchmark->labelled) return;
  const AnswerComparison compared =
      compare_answers(*benchmark, read_answers(before, *benchmark), read_answers(after, *benchmark));
  row.low = compared.scores.back().low, row.high = compared.scores.back().high;
  row.changed = compared.changed;
  add_flips(*benchmark, compared, into);
}

void read_scores(const OutputFiles& files, const std::optional<Recipe>& recipe, ReportData& into) {
  const auto results = evaluation_from_json(read_json(files.eval), files.eval.string());
  for (size_t i = 0; i + 1 < results.size(); i += 2) {
    const EvaluationResult &dense = results[i], &pruned = results[i + 1];
    require(dense.benchmark == pruned.benchmark, "{}: results: {}: expected dense and pruned by turns",
            files.eval.string(), i);
    if (!dense.scored || !pruned.scored) continue;
    ScoreRow row{dense.benchmark, benchmark_named(dense.benchmark).headline, dense.count, dense.points, dense.score,
                 pruned.score};
    if (recipe && i / 2 < recipe->evaluate.size() && recipe->evaluate[i / 2].benchmark == dense.benchmark)
      compare_side_by_side(recipe->evaluate[i / 2],
                           recipe->evaluate.size() == 1 ? files.answers : files.answers / std::to_string(i / 2), row,
                           into);
    into.scores.push_back(std::move(row));
  }
}

/// What a checkpoint with plans for several budgets does under each, as far as the run has come.
void read_budgets(const OutputFiles& files, const Recipe& recipe, ReportData& into) {
  if (recipe.budgets.size() < 2) return;
  for (const double value : recipe.budgets) {
    BudgetRow row{
        budget_name(value), recipe.plan && recipe.plan->budget && recipe.plan->budget->value == value, {}, {}};
    const OutputFiles own = files_of_budget(recipe, files, row.budget);
    if (!fs::exists(own.plan) || !fs::exists(own.eval)) continue;
    const Json provenance = read_plan(own.plan).provenance;
    const std::string where = own.plan.string() + ": provenance";
    if (has(provenance, "search"))
      row.flops = get_number(get_object(provenance, "search", where), "visual_flops", where + ": search");
    const auto results = evaluation_from_json(read_json(own.eval), own.eval.string());
    for (size_t i = 0; i + 1 < results.size(); i += 2) {
      const EvaluationResult &dense = results[i], &pruned = results[i + 1];
      if (dense.scored && pruned.scored)
        row.scores.push_back({dense.benchmark, benchmark_named(dense.benchmark).headline, dense.count, dense.points,
                              dense.score, pruned.score});
    }
    into.budgets.push_back(std::move(row));
  }
}

std::optional<ModelSpec> find_spec(const std::optional<Recipe>& recipe, const OutputFiles& files, ReportData& into) {
  for (const fs::path& folder : {recipe ? recipe->model : fs::path(), files.pruned})
    if (!folder.empty() && fs::exists(config_file(folder)) && fs::is_regular_file(config_file(folder))) try {
        return spec_of(folder);
      } catch (const SystemError&) {
        throw;
      } catch (const UserError& error) {
        into.notes.emplace_back(error.what());
      }
  return std::nullopt;
}

void add_prices(const Plan& plan, const OutputFiles& files, const std::optional<Recipe>& recipe, const ModelSpec& spec,
                ReportData& into) {
  const Prompts prompts = recipe ? figure_prompts(*recipe, spec) : typical_prompt(spec);
  Pricing pricing{spec.text, prompts.shapes};
  into.prompts = prompts.name;
  const Plan dense = dense_plan(spec.text);
  double kept = 0;
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    into.dense.push_back(parts_of(dense.layers[l], pricing));
    into.pruned.push_back(parts_of(plan.layers[l], pricing));
    pricing.dense += into.dense.back().sum();
    kept += into.pruned.back().sum();
  }
  if (pricing.dense > 0) into.counted = kept / pricing.dense;
  const fs::path journal = files.folder / "search.jsonl";
  if (fs::exists(journal)) read_search(journal, share_of, &pricing, into);
}

}  // namespace

ReportData read_report(const fs::path& folder) {
  require(fs::is_directory(folder), "{}: no such folder (expected the output of `yopo run`)", folder.string());
  const OutputFiles files = output_files(folder);
  require(
      fs::exists(files.statistics) || fs::exists(files.plan) || fs::exists(files.eval) || fs::exists(files.comparison),
      "{}: nothing of a run is here: expected stats.h5, plan.json, eval.json or comparison.json; `yopo run RECIPE "
      "--set output={}` makes them",
      folder.string(), folder.string());
  ReportData data;
  data.folder = folder.filename().empty() ? folder.parent_path().filename().string() : folder.filename().string();
  std::optional<Recipe> recipe;
  if (fs::exists(files.recipe)) {
    recipe = read_recipe(files.recipe);
    data.recipe = recipe->resolved();
    data.model = recipe->model.string();
    if (recipe->plan && recipe->plan->budget) {
      const Budget& budget = *recipe->plan->budget;
      data.budget =
          budget.kind == Budget::Kind::Flops ? fmt::format("{:g} %", 100 * budget.value) : budget_text(budget);
      data.budget_of = what_is_spent(budget.kind);
    }
  }
  if (fs::exists(files.statistics)) read_ratio(files.statistics, data);
  const std::optional<ModelSpec> spec = find_spec(recipe, files, data);
  if (spec) data.all_neurons = spec->text.intermediate_size;
  if (fs::exists(files.plan)) {
    const Plan plan = read_plan(files.plan);
    if (spec) check_plan(plan, spec->text, files.plan.string());
    add_layers(plan, data);
    require(data.ratio.empty() || (data.ratio.size() == data.layers.size() &&
                                   data.ratio.front().size() == data.layers.front().heads.size()),
            "{}: {} layers, but {} has {}", files.plan.string(), data.layers.size(), files.statistics.string(),
            data.ratio.size());
    data.plan_provenance = plan.provenance;
    read_stream_errors(plan.provenance, files.plan.string(), data);
    if (spec) add_prices(plan, files, recipe, *spec, data);
  }
  data.all_heads = int64_t(!data.ratio.empty()   ? data.ratio.front().size()
                           : data.layers.empty() ? 0
                                                 : data.layers.front().heads.size());
  if (fs::exists(files.comparison)) data.comparison = read_json(files.comparison);
  if (!data.comparison.is_null())
    data.counted = comparison_from_json(data.comparison, files.comparison.string()).exact_fraction;
  if (fs::exists(files.verify)) {
    data.verify = read_json(files.verify);
    (void)verify_from_json(data.verify, files.verify.string());
  }
  if (fs::exists(files.eval)) read_scores(files, recipe, data);
  if (recipe) read_budgets(files, *recipe, data);
  if (fs::exists(folder / "compare/compare.json")) read_controls(folder / "compare/compare.json", data);
  if (fs::exists(folder / "sweep/sweep.json")) read_sweep(folder / "sweep/sweep.json", data);
  return data;
}

}  // namespace yopo
