#include <algorithm>
#include <optional>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/table.h"
#include "evaluation/benchmarks/registry.h"
#include "evaluation/flips.h"
#include "evaluation/lmms_files.h"
#include "evaluation/merge_answers.h"
#include "evaluation/reference.h"
#include "evaluation/submission.h"
#include "pipeline/stages.h"
#include "pipeline/together.h"
#include "plans/pruned_config.h"

namespace yopo::cli {

namespace {

struct EvalFlags {
  std::string recipe, model, benchmark = default_benchmark(), answers, output, plan, dtype = "auto", device = "auto",
                             protocol, rule;
  PromptOptions prompts;
  std::string submission, lmms, date, compare, reference, shard, budget;
  std::vector<std::string> overrides, merge;
  DatasetFlags dataset;
  int64_t batch_size = 1, max_new_tokens = 0;
  bool dense = false;
};

constexpr size_t kFlipsShown = 20;  // of each kind

/// What flags alone evaluate, and what else they leave behind.
struct Evaluated {
  EvaluationResult result;
  std::optional<AnswerComparison> comparison;
  std::vector<ReferenceScore> reference;
};

/// The model whose published scores are wanted, "" for none.
std::string reference_of(const EvalFlags& flags) {
  if (flags.reference != "auto") {
    if (!flags.reference.empty()) check_word("--reference", flags.reference, reference_models());
    return flags.reference;
  }
  std::string found = flags.model.empty() ? "" : reference_model(open_model(flags.model).spec);
  require(!found.empty(), "--reference: {} no model with published scores; name one of {}, as --reference={}",
          flags.model.empty() ? "there is" : flags.model + " is", fmt::join(reference_models(), ", "),
          reference_models()[0]);
  return found;
}

/// The names of the benchmarks that are so.
std::string names_of(bool (*chosen)(const Benchmark&)) {
  std::vector<std::string> names;
  for (const Benchmark* one : benchmarks())
    if (chosen(*one)) names.push_back(one->name);
  return fmt::format("{}", fmt::join(names, ", "));
}

/// The protocols as the help lists them: the first is the default, those of one benchmark name it.
std::string protocols_text() {
  struct Known {
    const Protocol* protocol;
    std::vector<std::string> of;
  };
  std::vector<Known> all;
  for (const Benchmark* benchmark : benchmarks())
    for (const Protocol& one : benchmark->protocols) {
      const auto same =
          std::find_if(all.begin(), all.end(), [&](const Known& k) { return k.protocol->name == one.name; });
      (same == all.end() ? all.insert(all.end(), Known{&one, {}}) : same)->of.push_back(benchmark->name);
    }
  std::string text;
  for (const Known& known : all)
    text += fmt::format("{}{}{}{}{}", text.empty() ? "" : "; ", known.protocol->name, text.empty() ? " (default)" : "",
                        known.of.size() == 1 ? " (" + known.of[0] + ")" : "",
                        known.protocol->about.empty() ? "" : ": " + known.protocol->about);
  return text;
}

/// The rules of each benchmark that has some.
std::string rules_text() {
  std::string text;
  for (const Benchmark* one : benchmarks())
    if (!one->rules.empty())
      text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", one->name, fmt::join(one->rules, ", "));
  return text;
}

EvaluateOptions options_of(const EvalFlags& flags) {
  const Benchmark& benchmark = benchmark_named(flags.benchmark);
  if (!flags.protocol.empty()) check_word("--protocol", flags.protocol, protocol_names(benchmark));
  require(flags.rule.empty() || !benchmark.rules.empty(), "--rule: benchmark {} has none to choose; found '{}'",
          benchmark.name, printable(flags.rule));
  if (!flags.rule.empty()) check_word("--rule", flags.rule, benchmark.rules);
  EvaluateOptions options;
  options.benchmark = flags.benchmark;
  options.dataset = dataset_of(flags.dataset);
  options.batch_size = flags.batch_size;
  options.max_new_tokens = flags.max_new_tokens;
  options.protocol = flags.protocol;
  options.rule = flags.rule;
  return options;
}

/// Hours of answering lie between the command line and these files, so their mistakes show first.
void check_outputs(const EvalFlags& flags) {
  need(flags.lmms.empty() == flags.date.empty(), "eval", "give --lmms and --date together");
  if (!flags.lmms.empty()) check_lmms_date(flags.date);
  const Benchmark& benchmark = benchmark_named(flags.benchmark);
  if (!flags.submission.empty()) check_submission(benchmark, flags.submission);
  if (!flags.reference.empty()) reference_scores(reference_of(flags), benchmark);
}

Evaluated evaluate_flags(const EvalFlags& flags, const Context& context) {
  const EvaluateOptions options = options_of(flags);
  need(has_questions(benchmark_named(options.benchmark), options.dataset) &&
           (!flags.model.empty() || !flags.answers.empty() || !flags.merge.empty()),
       "eval",
       fmt::format("give a recipe, or --questions (for {}: --images) with --model, --answers or --merge",
                   names_of([](const Benchmark& one) { return one.folder_of_questions; })));
  need(flags.answers.empty() || flags.merge.empty(), "eval", "give --answers or --merge, not both");
  check_outputs(flags);
  const Shard shard = flags.shard.empty() ? Shard() : parse_shard(flags.shard, "--shard");
  need(shard.whole() || (!flags.model.empty() && flags.answers.empty() && flags.merge.empty()), "eval",
       "--shard asks a model: give --model, without --answers or --merge");
  need(
      shard.whole() || !context.ranks, "eval",
      "--shard is for processes that do not know of each other; those of a launcher share the questions by themselves");
  need(shard.whole() ||
           (flags.submission.empty() && flags.lmms.empty() && flags.compare.empty() && flags.reference.empty()),
       "eval", "a shard is scored when it is merged: --submission, --lmms, --compare and --reference go with --merge");
  fs::path answers = flags.answers;
  Evaluated made;
  // Each is read once: what is noted and warned of them is said once.
  std::optional<OpenBenchmark> benchmark;
  std::optional<Answers> given;
  const auto read = [&] {
    if (!benchmark) benchmark = open_benchmark(options, false);
    if (!given) given = read_answers(answers, *benchmark);
  };
  // Before anything is asked: its mistakes must not show after hours of that.
  std::optional<Answers> other;
  if (!flags.compare.empty()) {
    benchmark = open_benchmark(options, false);
    other = read_answers(flags.compare, *benchmark);
  }
  if (!flags.merge.empty()) {
    need(!flags.output.empty(), "eval", "give --output, the file of the merged answers");
    answers = flags.output;
    if (!benchmark) benchmark = open_benchmark(options, false);
    merge_answers({flags.merge.begin(), flags.merge.end()}, *benchmark, answers);
  }
  if (answers.empty()) {
    need(!flags.output.empty(), "eval", "give --output, the folder of the answers");
    const OpenModel model = open_model(flags.model);
    const fs::path into = fs::path(flags.output) / "answers";
    const std::string budget = flags.budget.empty() ? "" : parse_budget(flags.budget, "--budget");
    made.result = evaluate_one(model, choose_plan(model, flags.dense, flags.plan, budget), options, flags.model,
                               flags.prompts, engine_options(context.settings(), flags.dtype, flags.device), into,
                               shard, budget, {}, context.ranks.get());
    if (context.follows()) return made;
    if (!flags.dense && flags.plan.empty()) {
      const CheckpointBudgets there = budgets_of_checkpoint(model.checkpoint);
      if (!there.names.empty()) made.result.budget = budget.empty() ? there.fallback : budget;
    }
    answers = answers_file(into, flags.benchmark, made.result.pruned, shard, budget);
  } else {
    read();
    made.result = score_answers(*benchmark, *given);
    made.result.model = flags.model.empty() ? answers.string() : flags.model;
    made.result.plan_known = !flags.model.empty();
    if (!flags.model.empty()) {
      const OpenModel model = open_model(flags.model);
      made.result.pruned = !is_dense(choose_plan(model, flags.dense, flags.plan, flags.budget), model.spec.text);
    }
  }
  if (!flags.reference.empty())
    made.reference = reference_scores(reference_of(flags), benchmark_named(flags.benchmark));
  if (flags.submission.empty() && flags.lmms.empty() && flags.compare.empty()) return made;

  read();
  if (!flags.submission.empty()) write_submission(*benchmark, *given, flags.submission);
  if (!flags.lmms.empty())
    write_lmms_files(*benchmark, *given, {flags.date, made.result.model, made.result.batch_size}, flags.lmms);
  if (other) made.comparison = compare_answers(*benchmark, *other, *given);
  return made;
}

/// Shards may share an output folder.
std::string result_file(const EvaluationResult& result) {
  if (result.shard.empty()) return "eval.json";
  const Shard shard = parse_shard(result.shard, "shard");
  return fmt::format("eval.{}-of-{}.json", shard.number, shard.count);
}

Json reference_to_json(const std::vector<ReferenceScore>& reference) {
  Json list = Json::array();
  for (const ReferenceScore& one : reference)
    list.push_back(Json{{"source", one.source}, {"setting", one.setting}, {"score", one.score}});
  return list;
}

int eval_command(const EvalFlags& flags, const Context& context) {
  std::vector<EvaluationResult> results;
  std::vector<BudgetEvaluation> others;
  Evaluated made;
  if (!flags.recipe.empty()) {
    const Recipe recipe = read_recipe(flags.recipe, with_prompts(flags.overrides, flags.prompts));
    const OpenModel model = open_recipe_model(recipe);
    RankGroup* const ranks = context.ranks.get();
    if (ranks) agree_on_recipe(*ranks, recipe, model, resolve_device(recipe.device));
    const OutputFolder folder(recipe, ranks);
    others = evaluate_budgets(recipe, context.settings(), folder.files());
    results = others.front().results;
    others.erase(others.begin());
  } else {
    // Ready answers are scored at once: nothing to share.
    if (context.follows() && (!flags.answers.empty() || !flags.merge.empty())) return 0;
    made = evaluate_flags(flags, context);
    if (context.follows()) return 0;
    results = {made.result};
    if (!flags.output.empty() && flags.merge.empty()) {
      write_json(fs::path(flags.output) / result_file(made.result), evaluation_to_json(results));
      if (made.comparison) write_json(fs::path(flags.output) / "comparison.json", comparison_to_json(*made.comparison));
    }
  }
  if (context.follows()) return 0;
  if (context.json) {
    Json json = evaluation_to_json(results);
    if (made.comparison) json["comparison"] = comparison_to_json(*made.comparison);
    for (const BudgetEvaluation& one : others)
      json["budgets"].push_back({{"budget", one.budget}, {"results", evaluation_to_json(one.results)["results"]}});
    if (!flags.reference.empty()) json["reference"] = reference_to_json(made.reference);
    print_json(json);
    return 0;
  }
  for (const BudgetEvaluation& one : others)
    for (size_t i = 1; i < one.results.size(); i += 2) results.push_back(one.results[i]);
  std::vector<std::vector<std::string>> rows{{"benchmark", "model", "category", "score"}};
  for (const EvaluationResult& result : results) {
    const std::string side = !result.plan_known      ? "-"
                             : !result.pruned        ? "dense"
                             : result.budget.empty() ? "pruned"
                                                     : "pruned " + result.budget;
    for (const auto& [name, value] : result.categories)
      rows.push_back({result.benchmark, side, name, score_text(result, value)});
    const std::string all = result.shard.empty() ? "all" : "shard " + result.shard + ":";
    rows.push_back({result.benchmark, side, fmt::format("{} {}", all, result.count),
                    result.scored ? score_text(result, result.score) : "-"});
  }
  for (const ReferenceScore& one : made.reference)
    rows.push_back({flags.benchmark, one.source, one.setting, score_text(made.result, one.score)});
  print(format_table(rows));
  if (made.comparison) {
    print("\n" + format_table(comparison_rows(*made.comparison)));
    print("\n" + format_table(flip_rows(*made.comparison, kFlipsShown)));
  }
  return 0;
}

}  // namespace

void add_eval(CLI::App& app, Context& context) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command = add_command(
      app, context, Runs::Model, "eval", "Score a checkpoint on a benchmark, or score ready answers",
      "yopo eval --model out/demo/pruned --benchmark vqa --questions examples/digitgrid/data/test/questions.jsonl \\\n"
      "      --images examples/digitgrid/data/test/images --batch-size 50 --output out/eval");
  add_recipe_flags(command, flags->recipe, flags->overrides);
  command->add_option("--model", flags->model, "Checkpoint folder; a pruned one runs pruned");
  command->add_option("--benchmark", flags->benchmark, fmt::format("{}", fmt::join(benchmark_names(), ", ")))
      ->check(one_of(benchmark_names()));
  command->add_option("--protocol", flags->protocol, "How it is asked and scored: " + protocols_text());
  command->add_option("--rule", flags->rule,
                      fmt::format("How answers become letters ({}); the first is the default", rules_text()));
  add_dataset_flags(command, flags->dataset, false);
  command->add_option("--batch-size", flags->batch_size, "Questions asked at once")
      ->check(whole_number(1, most_questions_at_once))
      ->capture_default_str();
  command->add_option("--max-new-tokens", flags->max_new_tokens, "Tokens of an answer (0: the benchmark's own limit)")
      ->check(whole_number(0, "the benchmark's own"));
  command->add_option("--shard", flags->shard,
                      "K/N: ask only each N-th question from the K-th on; --merge joins the N answer files");
  command->add_flag("--dense", flags->dense, "Run a pruned checkpoint whole");
  command->add_option("--plan", flags->plan, "Run under another plan");
  add_budget_flag(command, flags->budget);
  command->add_option("--dtype", flags->dtype, "auto, fp32, bf16, or on a GPU fp16")->check(dtype_name());
  command->add_option("--device", flags->device, "cpu, cuda, cuda:N or auto")->check(device_name());
  add_prompt_flags(command, flags->prompts);
  command->add_option("--answers", flags->answers,
                      "Score these answers (JSON lines question_id, text) without a model");
  command->add_option("--output", flags->output, "Folder for eval.json and answers/; with --merge the merged file");
  command->add_option("--submission", flags->submission,
                      fmt::format("Write the benchmark's own submission: a file ({}) or a folder ({})",
                                  names_of([](const Benchmark& one) { return one.submission == Submission::File; }),
                                  names_of([](const Benchmark& one) { return one.submission == Submission::Folder; })));
  command->add_option("--lmms", flags->lmms,
                      "Folder for <date>_results.json and <date>_samples_<task>.jsonl as of lmms-eval");
  command->add_option("--date", flags->date, "The date in the names of --lmms, such as 20260131_235959");
  command->add_option("--compare", flags->compare,
                      "Other answers (the dense model's): intervals of the difference, and flips");
  command
      ->add_option("--merge", flags->merge,
                   "Answer files of one evaluation, one after the other or separated by commas, to merge into --output")
      ->delimiter(',');
  command->add_flag("--reference{auto}", flags->reference,
                    "Print the published scores of the model beside its own; --reference=llava-1.5-7b names the model");
  command->callback([flags, command, &context] {
    context.resumes = context.shares = true;
    context.run = [flags, command, &context] {
      check_recipe_flags(*command, {"--template", "--image-backend", "--exif-transpose"});
      return eval_command(*flags, context);
    };
  });
}

}  // namespace yopo::cli
