#include "pipeline/compare.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "core/error.h"
#include "core/progress.h"
#include "core/version.h"
#include "evaluation/flips.h"
#include "models/anyres.h"
#include "models/prompt_identity.h"
#include "pipeline/samples.h"
#include "plans/provenance.h"
#include "search/controls.h"
#include "search/journal.h"
#include "search/judge.h"
#include "search/ranking.h"

namespace yopo {
namespace {

constexpr int64_t kPrompts = 20;    // whose visual FLOPs are held against the budget
constexpr int64_t kJudged = 40;     // calibration samples that divergences are of
constexpr int64_t kFastLayers = 2;  // layers that all visual tokens go through before attention chooses (FastV)

/// One point: a plan, or the dense model without some tokens, or why there is neither.
struct Point {
  std::string name;
  std::optional<int64_t> seed;
  std::optional<Plan> plan;
  std::optional<Dropping> dropping;
  double predicted = 0;
  std::string note;
  bool met() const { return plan.has_value(); }
  std::string folder() const { return seed ? fmt::format("{}-{}", name, *seed) : name; }
};

class Comparing {
 public:
  Comparing(const Recipe& recipe, const RunSettings& settings, const CompareOptions& options, const OpenModel& model,
            const OutputFiles& files)
      : recipe_(recipe),
        options_(options),
        model_(model),
        spec_(model.spec.text),
        run_(engine_options(settings, recipe.dtype, recipe.device)),
        folder_(files.folder / "compare"),
        budget_(recipe.plan->budget->value) {
    fs::create_directories(folder_);
    statistics_ = calibrate_stage(recipe, model, settings, files.statistics);
    solver_ = plan_stage(recipe, model, statistics_, settings, files);
    samples_ = choose_samples(read_samples(recipe.calibration->dataset), kJudged, recipe.seed);
    const Processor processor(model, recipe.prompts);
    for (const Sample& sample : samples_) {
      if (int64_t(prompts_.size()) == kPrompts) break;
      ModelInput input = processor.prepare(sample);
      if (!input.spans.empty()) prompts_.push_back(std::move(input));
    }
    require(!prompts_.empty(), "{}: calibration.dataset: none of its samples has an image", recipe.file.string());
    for (const ModelInput& input : prompts_) shapes_.push_back(shape_of(input));
    menu_ = std::make_unique<Menu>(
        spec_, rank(spec_, ratio_scores(statistics_), ratio_scores(statistics_), wanda_scores(statistics_)), shapes_,
        std::vector<int64_t>{-1});
  }

  Json compare();

 private:
  std::vector<Point> points();
  void add_plan(std::vector<Point>& points, const std::string& name, ControlPlan control,
                std::optional<int64_t> seed = {});
  Point dropping_point(const std::string& name, Dropping dropping, std::optional<int64_t> seed = {});
  double dropped_share(const Dropping& dropping) const;
  double counted(const Point& point) const;
  std::vector<double> frozen_divergences();
  double divergence(const std::string& key, const Plan& plan);
  Judge& judge();
  const runtime::Engine& dense();
  std::vector<EvaluationResult> evaluate_point(const Point& point);
  fs::path answers_folder(const std::string& point, size_t benchmark) const;
  Json benchmark_json(size_t benchmark, const Point& point, const EvaluationResult& before,
                      const EvaluationResult& after) const;
  std::string benchmark_name(size_t index) const;

  const Recipe& recipe_;
  const CompareOptions& options_;
  const OpenModel& model_;
  const DecoderSpec& spec_;
  runtime::Options run_;
  fs::path folder_;
  double budget_;
  Statistics statistics_;
  Plan solver_;
  std::vector<Sample> samples_;
  std::vector<ModelInput> prompts_;
  std::vector<PromptShape> shapes_;
  std::unique_ptr<Menu> menu_;
  std::unique_ptr<runtime::Engine> dense_;
  std::unique_ptr<Judge> judge_;
  std::unique_ptr<SearchJournal> journal_;
};

const runtime::Engine& Comparing::dense() {
  if (!dense_) dense_ = std::make_unique<runtime::Engine>(model_, dense_plan(spec_), run_);
  return *dense_;
}

Judge& Comparing::judge() {
  if (!judge_) {
    const Processor processor(model_, recipe_.prompts);
    judge_ =
        std::make_unique<Judge>(dense(), judged_samples(dense(), processor, samples_, recipe_.search.max_new_tokens));
  }
  return *judge_;
}

/// Mean KL on calibration samples, rounded so that it does not depend on the machine's threads.
double Comparing::divergence(const std::string& key, const Plan& plan) {
  if (!journal_) {
    Fingerprint inputs;
    inputs.add(model_.checkpoint.fingerprint()).add(dataset_fingerprint(samples_)).add(tool_version);
    inputs.add(fmt::format("{} {}", recipe_.search.max_new_tokens,
                           short_name(runtime::computing_type(run_, model_.spec.dtype))));
    inputs.add(prompt_fingerprint(model_, recipe_.prompts));
    journal_ = std::make_unique<SearchJournal>(folder_ / "kl.jsonl", inputs.hex());
  }
  Fingerprint of;
  of.add(plan_to_json(plan).dump());
  const std::string full = fmt::format("{} {}", key, of.hex());
  if (const Verdict* known = journal_->find(full)) return known->kl;
  Judge& by = judge();
  Verdict verdict =
      key.starts_with("frozen layer") ? by.judge(dense().under(plan)) : by.judge(runtime::Engine(model_, plan, run_));
  verdict.kl = std::round(verdict.kl * 1e6) / 1e6;
  journal_->add(full, verdict);
  return verdict.kl;
}

std::vector<double> Comparing::frozen_divergences() {
  std::vector<double> kl;
  for (int64_t l = 0; l < spec_.num_hidden_layers; ++l)
    kl.push_back(divergence(fmt::format("frozen layer {}", l), frozen_layer(spec_, l)));
  return kl;
}

void Comparing::add_plan(std::vector<Point>& points, const std::string& name, ControlPlan control,
                         std::optional<int64_t> seed) {
  if (!control.plan)
    control.note = fmt::format("cannot be met: the least that it costs is {:.1f} %", 100 * control.cost);
  points.push_back({name, seed, std::move(control.plan), {}, control.cost, std::move(control.note)});
}

double Comparing::dropped_share(const Dropping& dropping) const {
  const Plan plan = dense_plan(spec_);
  double kept = 0, all = 0;
  for (const PromptShape& shape : shapes_) {
    int64_t visual = 0;
    for (const Span& span : shape.spans) visual += span.count();
    KeptRows rows{dropping.from_layer, {}};
    for (int64_t row = 0; row < kept_count(dropping, visual); ++row) rows.rows.push_back(row);
    kept += visual_cost(plan, spec_, with_kept(shape, rows)).macs();
    all += visual_cost(plan, spec_, shape).macs();
  }
  return kept / all;
}

/// As many tokens as the budget allows.
Point Comparing::dropping_point(const std::string& name, Dropping dropping, std::optional<int64_t> seed) {
  Point point{name, seed, {}, {}, 0, ""};
  int64_t most = 1;
  for (const ModelInput& input : prompts_) most = std::max(most, input.visual_tokens());
  const auto share_of = [&](int64_t count) {
    dropping.share = double(count) / double(most);
    return point.predicted = dropped_share(dropping);
  };
  // Where so many whole layers cost more than everything: as many as do not.
  if (dropping.by == Dropping::By::Attention)
    while (dropping.from_layer > 1 && share_of(1) > budget_) --dropping.from_layer;
  int64_t count = most;
  while (count > 1 && share_of(count) > budget_) --count;
  if (share_of(count) > budget_) {
    point.note = fmt::format("cannot be met: with one token left it costs {:.1f} %", 100 * point.predicted);
    return point;
  }
  point.plan = dense_plan(spec_);
  point.dropping = dropping;
  point.note = fmt::format("{} of {} tokens from layer {} on", count, most, dropping.from_layer);
  return point;
}

std::vector<Point> Comparing::points() {
  std::vector<Point> all;
  const auto wanted = [&](const std::string& name) {
    return options_.controls.empty() ||
           std::find(options_.controls.begin(), options_.controls.end(), name) != options_.controls.end();
  };
  const Menu& menu = *menu_;
  if (wanted("solver")) all.push_back({"solver", {}, solver_, {}, menu.cost(solver_), "the recipe's own plan"});
  if (wanted("published")) add_plan(all, "published", published_control(menu, budget_, statistics_));
  if (wanted("uniform")) add_plan(all, "uniform", uniform_control(menu, budget_));
  for (int64_t seed = 0; wanted("random") && seed < options_.seeds; ++seed)
    add_plan(all, "random", random_control(menu, budget_, uint64_t(seed)), seed);
  if (wanted("frozen_layers")) add_plan(all, "frozen_layers", frozen_control(menu, budget_, frozen_divergences()));
  if (wanted("depth")) add_plan(all, "depth", depth_control(menu, budget_));
  if (wanted("window")) add_plan(all, "window", window_control(menu, budget_));
  if (wanted("heads")) add_plan(all, "heads", heads_control(menu, budget_));
  if (wanted("neurons")) add_plan(all, "neurons", neurons_control(menu, budget_));
  for (int64_t seed = 0; wanted("drop_random") && seed < options_.seeds; ++seed)
    all.push_back(dropping_point("drop_random", {Dropping::By::Random, 1, 0, uint64_t(seed)}, seed));
  if (wanted("drop_grid")) all.push_back(dropping_point("drop_grid", {Dropping::By::Grid}));
  if (wanted("drop_attention"))
    all.push_back(dropping_point("drop_attention",
                                 {Dropping::By::Attention, 1, std::min(kFastLayers, spec_.num_hidden_layers - 1)}));
  if (wanted("drop_class")) {
    if (has_class_attention(model_.spec))
      all.push_back(dropping_point("drop_class", {Dropping::By::Class}));
    else
      all.push_back(
          {"drop_class", {}, {}, {}, 0, "left out: the vision tower has no class token, or no block that it reads in"});
  }
  return all;
}

/// What the runtime counts for the prompts, as a share of the dense model's.
double Comparing::counted(const Point& point) const {
  runtime::Options run = run_;
  run.share_prefixes = false;
  const runtime::Engine engine(model_, *point.plan, run);
  const Plan whole = dense_plan(spec_);
  std::vector<ModelInput> inputs = prompts_;
  if (point.dropping) {
    std::vector<std::string> keys;
    for (size_t i = 0; i < inputs.size(); ++i) keys.push_back(std::to_string(i));
    drop_tokens(engine, *point.dropping, keys, inputs);
  }
  double all = 0, text = 0;
  engine.counters() = {};
  for (size_t i = 0; i < inputs.size(); ++i) {
    (void)engine.prefill({inputs[i]}, 0);
    all += visual_cost(whole, spec_, shapes_[i]).macs();
    text += prefill_cost(whole, spec_, {inputs[i].text_tokens(), {}}).macs();
  }
  return (engine.counters().prefill.macs() - text) / all;
}

std::string Comparing::benchmark_name(size_t index) const {
  size_t before = 0;
  for (size_t i = 0; i < index; ++i) before += recipe_.evaluate[i].benchmark == recipe_.evaluate[index].benchmark;
  const std::string& name = recipe_.evaluate[index].benchmark;
  return before == 0 ? name : fmt::format("{}-{}", name, before + 1);
}

fs::path Comparing::answers_folder(const std::string& point, size_t benchmark) const {
  return folder_ / point / (recipe_.evaluate.size() == 1 ? "answers" : "answers/" + std::to_string(benchmark));
}

std::vector<EvaluationResult> Comparing::evaluate_point(const Point& point) {
  std::vector<EvaluationResult> results;
  const std::string folder = point.folder();
  note(fmt::format("compare: {}", folder));
  for (size_t i = 0; i < recipe_.evaluate.size(); ++i)
    results.push_back(evaluate_one(model_, *point.plan, recipe_.evaluate[i], recipe_.model.string(), recipe_.prompts,
                                   run_, answers_folder(folder, i), {}, "", point.dropping));
  write_json(folder_ / folder / "eval.json", evaluation_to_json(results));
  return results;
}

Json Comparing::benchmark_json(size_t index, const Point& point, const EvaluationResult& before,
                               const EvaluationResult& after) const {
  Json json = Json::object();
  json["score"] = after.scored ? Json(after.score) : Json();
  json["kept"] = after.scored && before.score > 0 ? Json(after.score / before.score) : Json();
  json["interval"] = Json();
  if (!after.scored) return json;
  const OpenBenchmark benchmark = open_benchmark(recipe_.evaluate[index], false);
  const auto answers = [&](const std::string& folder, bool pruned) {
    return read_answers(answers_file(answers_folder(folder, index), recipe_.evaluate[index].benchmark, pruned),
                        benchmark);
  };
  const bool pruned = point.dropping || !is_dense(*point.plan, spec_);
  const AnswerComparison pair = compare_answers(benchmark, answers("dense", false), answers(point.folder(), pruned));
  const ComparedScore& score = pair.scores.back();
  json["interval"] = Json::array({score.before + score.low, score.before + score.high});
  return json;
}

Json Comparing::compare() {
  Point whole{"dense", {}, dense_plan(spec_), {}, 1, ""};
  const std::vector<EvaluationResult> before = evaluate_point(whole);
  Json json{{"budget", budget_}, {"dense", Json::object()}, {"points", Json::array()}};
  json["dense"]["accuracy"] = before.front().scored ? Json(before.front().score) : Json();
  for (size_t i = 0; i < before.size(); ++i)
    json["dense"]["benchmarks"][benchmark_name(i)]["score"] = before[i].scored ? Json(before[i].score) : Json();
  for (const Point& point : points()) {
    Json one{{"name", point.name}, {"seed", point.seed ? Json(*point.seed) : Json()}};
    one["visual_flops"] = point.met() ? Json(counted(point)) : Json();
    one["predicted"] = point.met() ? Json(point.predicted) : Json();
    one["benchmarks"] = Json::object();
    one["kl"] = Json();
    if (point.met()) {
      const std::vector<EvaluationResult> after = evaluate_point(point);
      for (size_t i = 0; i < after.size(); ++i)
        one["benchmarks"][benchmark_name(i)] = benchmark_json(i, point, before[i], after[i]);
      if (!point.dropping) one["kl"] = divergence(point.folder(), *point.plan);
    }
    one["note"] = point.note.empty() ? Json() : Json(point.note);
    json["points"].push_back(std::move(one));
  }
  write_json(folder_ / "compare.json", json);
  return json;
}

void check_controls(const CompareOptions& options) {
  require(options.seeds >= 1 && options.seeds <= 1000, "--seeds: expected 1 to 1000, found {}", options.seeds);
  const std::vector<std::string>& known = control_names();
  for (const std::string& name : options.controls)
    require(std::find(known.begin(), known.end(), name) != known.end(), "--controls: unknown control '{}'{}",
            printable(name), did_you_mean(name, known));
}

}  // namespace

const std::vector<std::string>& control_names() {
  static const std::vector<std::string> names{"solver",    "published",      "uniform",   "random",  "frozen_layers",
                                              "depth",     "window",         "heads",     "neurons", "drop_random",
                                              "drop_grid", "drop_attention", "drop_class"};
  return names;
}

Json compare_recipe(const Recipe& recipe, const RunSettings& settings, const CompareOptions& options) {
  check_controls(options);
  require(recipe.plan && recipe.calibration, "{}: `yopo compare` needs the sections calibration and plan",
          recipe.file.string());
  require(recipe.plan->budget.has_value(),
          "{}: plan.budget: `yopo compare` spends a budget in several ways, and the plan has none (--set "
          "plan.budget=0.25, without the plan's other keys)",
          recipe.file.string());
  require(recipe.plan->budget->kind == Budget::Kind::Flops,
          "{}: plan.budget: `yopo compare` spends a share of the visual FLOPs, found {}", recipe.file.string(),
          budget_text(*recipe.plan->budget));
  require(!recipe.evaluate.empty(), "{}: `yopo compare` needs questions: the section evaluate", recipe.file.string());
  resolve_device(recipe.device);
  const OpenModel model = open_recipe_model(recipe);
  for (const EvaluateOptions& one : recipe.evaluate)
    for (const std::string& missing : missing_paths(one.dataset)) fail("{}", missing);
  for (const std::string& missing : missing_paths(recipe.calibration->dataset)) fail("{}", missing);
  const OutputFolder output(recipe);
  return Comparing(recipe, settings, options, model, output.files()).compare();
}

}  // namespace yopo
