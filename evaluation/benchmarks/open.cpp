#include "evaluation/benchmarks/open.h"

#include <algorithm>
#include <unordered_set>

#include "core/progress.h"

namespace yopo {

OpenBenchmark open_benchmark(const EvaluateOptions& options, bool images_needed) {
  const auto choose = [&](std::string_view what, const std::string& given, const std::vector<std::string>& known) {
    if (given.empty()) return known.empty() ? std::string() : known[0];
    require(!known.empty(), "{}: benchmark {} has none to choose, found '{}'", what, options.benchmark,
            printable(given));
    check_label(given, known, what, "benchmark " + options.benchmark);
    return given;
  };
  const Benchmark& benchmark = benchmark_named(options.benchmark);
  OpenBenchmark open;
  open.benchmark = &benchmark;
  open.protocol = choose("protocol", options.protocol, protocol_names(benchmark));
  const Protocol& protocol = *std::find_if(benchmark.protocols.begin(), benchmark.protocols.end(),
                                           [&](const Protocol& one) { return one.name == open.protocol; });
  // A protocol may bring its own rule; another one may still be named.
  open.rule = choose("rule", options.rule.empty() ? protocol.rule : options.rule, benchmark.rules);
  open.max_new_tokens = options.max_new_tokens > 0 ? options.max_new_tokens : protocol.max_new_tokens;
  open.key_of = [] { return KeyOf(question_id_text); };
  benchmark.open({options.dataset, protocol, images_needed}, open);
  ensure(open.samples && open.score && open.key_of, "an open benchmark has samples, a metric and keys");
  ensure(bool(open.submit) == (benchmark.submission != Submission::None), "a submission and what writes it");
  return open;
}

Answers read_answers(const fs::path& file, const OpenBenchmark& benchmark) {
  std::unordered_set<std::string> asked;
  for (const Sample& sample : *benchmark.samples) asked.insert(question_key(sample));
  Answers answers;
  answers.where = file.string();
  const KeyOf key_of = benchmark.key_of();
  for (const JsonLine& line : read_json_lines(file)) {
    const std::string where = fmt::format("{}:{}", file.string(), line.line);
    const std::string key = key_of(line.value, where);
    const std::string id = question_id_text(line.value, where);
    require(asked.contains(key), "{}: question_id {} is not among the questions", where, printable(id));
    std::string text = get_string(line.value, "text", where);
    const auto [place, fresh] = answers.text.insert_or_assign(key, std::move(text));
    if (!fresh) warn(fmt::format("{}: question_id {} is answered again; the last answer counts", where, printable(id)));
  }
  return answers;
}

}  // namespace yopo
