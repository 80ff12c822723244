#include "pipeline/recipe.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "core/device_name.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/values.h"
#include "core/yaml.h"
#include "plans/budgets.h"
#include "plans/option_schema.h"

namespace yopo {

namespace {

constexpr int64_t kMostSamples = 1'000'000'000;

/// "place: key", what the shared value parsers name in their messages.
std::string at(const YamlNode& node, std::string_view key) { return fmt::format("{}: {}", node.place, key); }

const YamlNode& need(const YamlNode& map, std::string_view key, std::string_view name) {
  const YamlNode* node = map.find(key);
  if (node == nullptr) fail("{}: '{}' is missing in {}", map.place, key, name);
  return *node;
}

std::string choice(const YamlNode& node, std::string_view key, const std::vector<std::string>& known) {
  std::string text = yaml_string(node, key);
  if (std::find(known.begin(), known.end(), text) == known.end())
    fail("{}: {} should be one of {}; found '{}'{}", node.place, key, fmt::join(known, ", "), printable(text),
         did_you_mean(text, known));
  return text;
}

CalibrationOptions calibration_of(const YamlNode& node) {
  check_keys(node, "calibration", {"dataset", "queries"});
  CalibrationOptions options;
  const YamlNode& dataset = need(node, "dataset", "calibration");
  check_keys(dataset, "calibration.dataset", {"format", "questions", "images", "samples"});
  if (const auto* format = dataset.find("format"))
    options.dataset.format = choice(*format, "format", {"llava", "conversations"});
  options.dataset.questions = yaml_string(need(dataset, "questions", "calibration.dataset"), "questions");
  if (const auto* images = dataset.find("images")) options.dataset.images = yaml_string(*images, "images");
  if (const auto* samples = dataset.find("samples"))
    options.dataset.samples = yaml_int(*samples, "samples", 0, kMostSamples);
  if (const auto* queries = node.find("queries"))
    options.queries = parse_queries(yaml_string(*queries, "queries"), at(*queries, "queries"));
  return options;
}

EvaluateOptions evaluate_of(const YamlNode& node, size_t index) {
  const std::string name = fmt::format("evaluate.{}", index);
  check_keys(node, name,
             {"benchmark", "questions", "images", "annotations", "batch_size", "max_new_tokens", "samples", "protocol",
              "rule"});
  EvaluateOptions options;
  options.benchmark = choice(need(node, "benchmark", name), "benchmark", benchmark_names());
  const Benchmark& benchmark = benchmark_named(options.benchmark);
  const auto path = [&](std::string_view key, fs::path& into) {
    if (const auto* found = node.find(key)) into = yaml_string(*found, key);
  };
  path("questions", options.dataset.questions);
  path("images", options.dataset.images);
  path("annotations", options.dataset.annotations);
  require(has_questions(benchmark, options.dataset), "{}: 'questions' is missing in {}", node.place, name);
  if (const auto* batch = node.find("batch_size"))
    options.batch_size = yaml_int(*batch, "batch_size", 1, most_questions_at_once);
  if (const auto* tokens = node.find("max_new_tokens"))
    options.max_new_tokens = yaml_int(*tokens, "max_new_tokens", 0, 1'000'000);
  if (const auto* samples = node.find("samples"))
    options.dataset.samples = yaml_int(*samples, "samples", 0, kMostSamples);
  if (const auto* protocol = node.find("protocol"))
    options.protocol = choice(*protocol, "protocol", protocol_names(benchmark));
  if (const auto* rule = node.find("rule")) {
    require(!benchmark.rules.empty(), "{}: rule: benchmark {} has none to choose", rule->place, benchmark.name);
    options.rule = choice(*rule, "rule", benchmark.rules);
  }
  return options;
}

/// `model: PATH` is short for `model: {path: PATH}`; written out first, so that overrides of model.dtype keep the path.
void expand_model(YamlNode& root) {
  for (YamlEntry& entry : root.entries) {
    if (entry.key != "model" || entry.value.kind != YamlNode::Kind::Scalar) continue;
    YamlNode path = std::move(entry.value);
    entry.value = YamlNode{};
    entry.value.kind = YamlNode::Kind::Map;
    entry.value.place = path.place;
    const std::string place = path.place;
    entry.value.entries.push_back({"path", place, std::move(path)});
  }
}

/// `--set plan.budget.kv=8MB` is a budget of its own, whatever the recipe's unit was.
void forget_budget(YamlNode& root, const std::string& assignment) {
  if (!assignment.starts_with("plan.budget.")) return;
  for (YamlEntry& entry : root.entries)
    if (entry.key == "plan" && entry.value.kind == YamlNode::Kind::Map)
      std::erase_if(entry.value.entries, [](const YamlEntry& e) { return e.key == "budget"; });
}

void read_model(const YamlNode& node, Recipe& recipe) {
  check_keys(node, "model", {"path", "dtype", "template", "image_backend", "exif_transpose"});
  recipe.model = yaml_string(need(node, "path", "model"), "path");
  if (const auto* dtype = node.find("dtype")) {
    const std::string name =
        choice(*dtype, "dtype", {"auto", "fp32", "bf16", "fp16", "float32", "bfloat16", "float16"});
    recipe.dtype = name == "auto" ? name : std::string(short_name(dtype_from_name(name)));
  }
  if (const auto* form = node.find("template")) recipe.prompts.chat_template = yaml_string(*form, "template");
  if (const auto* backend = node.find("image_backend"))
    recipe.prompts.image_backend = choice(*backend, "image_backend", {"pil", "torchvision"});
  if (const auto* turned = node.find("exif_transpose"))
    recipe.prompts.exif_transpose = yaml_bool(*turned, "exif_transpose");
}

void read_search(const YamlNode& node, SearchOptions& search) {
  check_keys(node, "search", {"evaluations", "minutes", "samples", "questions", "held_out", "max_new_tokens", "times"});
  if (const auto* found = node.find("evaluations")) search.evaluations = yaml_int(*found, "evaluations", 1, 1'000'000);
  if (const auto* found = node.find("minutes")) search.minutes = yaml_number(*found, "minutes", 0, 1e6);
  if (const auto* found = node.find("samples")) search.samples = yaml_int(*found, "samples", 0, kMostSamples);
  if (const auto* found = node.find("questions")) search.questions = yaml_int(*found, "questions", 1, 100'000);
  if (const auto* found = node.find("held_out")) search.held_out = yaml_number(*found, "held_out", 0, 0.5);
  if (const auto* found = node.find("max_new_tokens"))
    search.max_new_tokens = yaml_int(*found, "max_new_tokens", 1, 100'000);
  if (const auto* found = node.find("times")) search.times = yaml_string(*found, "times");
}

/// Several budgets of one checkpoint; plan.budget, one of them, is the default, without it the largest.
void read_budgets(const YamlNode& node, Recipe& recipe) {
  require(node.kind == YamlNode::Kind::List && !node.items.empty() && node.items.size() <= most_budgets,
          "{}: export.budgets should be a list of 1 to {} budgets, found {}", node.place, most_budgets,
          yaml_kind(node));
  std::vector<double>& budgets = recipe.budgets;
  for (const YamlNode& item : node.items) {
    const double budget = yaml_number(item, "export.budgets", 0, 1);
    require(budget > 0, "{}: export.budgets: nothing can be met with a budget of 0", item.place);
    require(std::find(budgets.begin(), budgets.end(), budget) == budgets.end(), "{}: export.budgets: {} comes twice",
            item.place, budget);
    budgets.push_back(budget);
  }
  std::sort(budgets.begin(), budgets.end(), std::greater<>());
  PlanOptions& plan = recipe.plan ? *recipe.plan : recipe.plan.emplace();
  require(plan.budget || !(plan.window || plan.heads || plan.updates || plan.ffn || plan.visual_layers),
          "{}: export.budgets: a search chooses everything for each budget, so plan can have no other key than budget",
          node.place);
  if (!plan.budget) plan.budget = Budget{Budget::Kind::Flops, budgets.front()};
  require(plan.budget->kind == Budget::Kind::Flops,
          "{}: export.budgets are shares of the visual FLOPs, and plan.budget is {}; give one of the two", node.place,
          budget_text(*plan.budget));
  require(std::find(budgets.begin(), budgets.end(), plan.budget->value) != budgets.end(),
          "{}: export.budgets: plan.budget, {}, is not among them ({})", node.place, plan.budget->value,
          fmt::join(budgets, ", "));
  if (budgets.size() == 1) budgets.clear();
}

std::optional<CompensateOptions> compensate_of(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::Scalar && node.text == "none" && !node.quoted) return std::nullopt;
  check_keys(node, "compensate", {"most_rank", "ridge"});
  CompensateOptions options;
  if (const auto* found = node.find("most_rank")) options.most_rank = yaml_number(*found, "most_rank", 0, 1);
  if (const auto* found = node.find("ridge")) options.ridge = yaml_number(*found, "ridge", 0, 1e6);
  return options;
}

}  // namespace

Recipe parse_recipe(std::string_view text, const std::string& where, const std::vector<std::string>& overrides) {
  YamlNode root = parse_yaml(text, where);
  if (root.kind == YamlNode::Kind::Null) root.kind = YamlNode::Kind::Map;
  require(root.kind == YamlNode::Kind::Map, "{}: a recipe should be a map with model and output, found {}", root.place,
          yaml_kind(root));
  expand_model(root);
  for (const std::string& assignment : overrides) {
    forget_budget(root, assignment);
    override_yaml(root, assignment);
    expand_model(root);
  }
  check_keys(root, "",
             {"model", "device", "seed", "output", "calibration", "plan", "search", "compensate", "export", "verify",
              "evaluate"});

  Recipe recipe;
  recipe.file = where;
  read_model(need(root, "model", "the recipe"), recipe);
  if (const auto* device = root.find("device")) {
    recipe.device = yaml_string(*device, "device");
    if (!device_name_fault(recipe.device).empty())  // cuda:N is one of them
      recipe.device = choice(*device, "device", {"auto", "cpu", "cuda"});
  }
  if (const auto* seed = root.find("seed"))
    recipe.seed = uint64_t(yaml_int(*seed, "seed", 0, std::numeric_limits<int64_t>::max()));
  recipe.output = yaml_string(need(root, "output", "the recipe"), "output");
  if (const auto* calibration = root.find("calibration")) recipe.calibration = calibration_of(*calibration);
  if (const auto* plan = root.find("plan")) recipe.plan = read_plan_options(*plan);
  if (const auto* search = root.find("search")) read_search(*search, recipe.search);
  if (const auto* compensate = root.find("compensate")) recipe.compensate = compensate_of(*compensate);
  if (const auto* exported = root.find("export")) {
    check_keys(*exported, "export", {"shard_size", "budgets", "transformers_code"});
    if (const auto* budgets = exported->find("budgets")) read_budgets(*budgets, recipe);
    if (const auto* size = exported->find("shard_size"))
      recipe.shard_size = parse_size(yaml_string(*size, "shard_size"), at(*size, "shard_size"));
    if (const auto* code = exported->find("transformers_code"))
      recipe.transformers_code = yaml_bool(*code, "transformers_code");
  }
  if (const auto* verify = root.find("verify")) {
    check_keys(*verify, "verify", {"samples"});
    if (const auto* samples = verify->find("samples"))
      recipe.verify_samples = yaml_int(*samples, "samples", 1, kMostSamples);
  }
  if (const auto* evaluate = root.find("evaluate")) {
    require(evaluate->kind == YamlNode::Kind::List, "{}: evaluate should be a list of benchmarks, found {}",
            evaluate->place, yaml_kind(*evaluate));
    for (size_t i = 0; i < evaluate->items.size(); ++i) recipe.evaluate.push_back(evaluate_of(evaluate->items[i], i));
  }
  return recipe;
}

Recipe read_recipe(const fs::path& path, const std::vector<std::string>& overrides) {
  constexpr uint64_t kLargest = uint64_t(1) << 20;
  Recipe recipe = parse_recipe(read_text(path, kLargest), path.string(), overrides);
  recipe.file = path;
  return recipe;
}

}  // namespace yopo
