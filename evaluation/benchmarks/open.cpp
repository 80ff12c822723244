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
  benchmark.open({options.dataset, protocol, images_needed}, open);
  if (!open.key_of) open.key_of = question_keys(*open.samples);
  ensure(open.samples && open.score && open.key_of, "an open benchmark has samples, a metric and keys");
  ensure(bool(open.submit) == (benchmark.submission != Submission::None), "a submission and what writes it");
  return open;
}

Answers read_answers(const fs::path& file, const OpenBenchmark& benchmark) {
  std::unordered_set<std::string> asked;
  for (const Sample& sample : *benchmark.samples) asked.insert(question_key(sample));
  Answers answers;
  int64_t others = 0;
  std::string first_other;
  answers.where = file.string();
  const KeyOf key_of = benchmark.key_of();
  for (const JsonLine& line : read_json_lines(file)) {
    const std::string where = fmt::format("{}:{}", file.string(), line.line);
    const std::string key = key_of(line.value, where);
    const std::string id = question_id_text(line.value, where);
    std::string text = get_string(line.value, "text", where);
    if (!asked.contains(key)) {
      if (others++ == 0) first_other = fmt::format("{}: question_id {}", where, printable(id));
      continue;
    }
    const auto [place, fresh] = answers.text.insert_or_assign(key, std::move(text));
    if (!fresh) warn(fmt::format("{}: question_id {} is answered again; the last answer counts", where, printable(id)));
  }
  if (others == 0) return answers;
  require(!answers.text.empty(), "{} is not among the questions, and so it is with all {} answers", first_other,
          others);
  answers.others = fmt::format("{} answers are to questions that are not asked, the first {}", others, first_other);
  warn(fmt::format("{}: {}; they are left out", file.string(), answers.others));
  return answers;
}

}  // namespace yopo
