#include "evaluation/benchmarks/registry.h"

#include <algorithm>
#include <unordered_set>

#include "core/progress.h"
#include "evaluation/benchmarks/gqa/score.h"
#include "evaluation/benchmarks/mmbench/score.h"
#include "evaluation/benchmarks/mme/score.h"
#include "evaluation/benchmarks/pope/score.h"
#include "evaluation/benchmarks/scienceqa/score.h"
#include "evaluation/benchmarks/textvqa/score.h"
#include "evaluation/benchmarks/vqa/score.h"
#include "evaluation/benchmarks/vqav2/score.h"

namespace yopo {

namespace {

constexpr int64_t kLmmsTokens = 16;  // of an answer, in lmms-eval's tasks of short answers

/// The `count` of `units` (one a sample) that a hash chooses, as flags of the samples. 0: all.
std::vector<bool> choose_units(const std::vector<std::string>& units, int64_t count) {
  std::vector<Sample> named;
  std::unordered_set<std::string> seen;
  for (const std::string& unit : units) {
    if (!seen.insert(unit).second) continue;
    named.emplace_back();
    named.back().id = unit;
  }
  std::unordered_set<std::string> chosen;
  for (const Sample& one : choose_samples(std::move(named), count, 0)) chosen.insert(one.id);
  std::vector<bool> keep;
  for (const std::string& unit : units) keep.push_back(chosen.contains(unit));
  return keep;
}

template <typename T>
void keep_flagged(std::vector<T>& items, const std::vector<bool>& keep) {
  size_t to = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    if (!keep[i]) continue;
    if (to != i) items[to] = std::move(items[i]);
    ++to;
  }
  items.resize(to);
}

/// Keeps some of the questions, whole units of them, and hands over what is left.
template <typename Data, typename UnitOf>
std::shared_ptr<const Data> chosen(Data data, int64_t count, UnitOf unit_of) {
  if (count > 0) {
    std::vector<std::string> units;
    for (size_t i = 0; i < data.samples.size(); ++i) units.push_back(unit_of(data, i));
    const std::vector<bool> keep = choose_units(units, count);
    keep_flagged(data.samples, keep);
    if constexpr (requires { data.questions; }) keep_flagged(data.questions, keep);
    if constexpr (requires { data.unasked; }) data.unasked = {};
  }
  return std::make_shared<const Data>(std::move(data));
}
const auto kById = [](const auto& data, size_t i) { return question_key(data.samples[i]); };

/// Lines of one question together: which of them an answer belongs to is known by their order alone.
const auto kByQuestion = [](const TextVqa& data, size_t i) {
  const std::string& key = data.samples[i].key;  // image, question, and which of several, a line each
  return key.substr(0, key.find('\n', key.find('\n') + 1));
};

template <typename Data>
std::shared_ptr<const std::vector<Sample>> samples_of(const std::shared_ptr<const Data>& data) {
  return {data, &data->samples};
}

void open_plain(const BenchmarkSource& source, OpenBenchmark& into) {
  struct Plain {
    std::vector<Sample> samples;
  };
  const auto data = chosen(Plain{read_samples(source.dataset)}, source.dataset.samples, kById);
  for (const Sample& sample : data->samples) check_expected(sample);
  into.samples = samples_of(data);
  into.score = [data](const Answers& answers) { return score_plain(data->samples, answers); };
}

void open_vqav2(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_vqav2(source), source.dataset.samples, kById);
  into.samples = samples_of(data);
  into.score = [data, protocol = source.protocol](const Answers& answers) {
    return score_vqav2(*data, answers, protocol);
  };
  if (source.protocol == "lmms") into.max_new_tokens = kLmmsTokens;
  into.full_list = data->full_list;
}

void open_gqa(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_gqa(source), source.dataset.samples, kById);
  into.samples = samples_of(data);
  into.score = [data, protocol = source.protocol](const Answers& answers) {
    return score_gqa(*data, answers, protocol);
  };
  if (source.protocol == "lmms") into.max_new_tokens = kLmmsTokens;
}

void open_scienceqa(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_scienceqa(source), source.dataset.samples, kById);
  into.samples = samples_of(data);
  into.score = [data, protocol = source.protocol](const Answers& answers) {
    return score_scienceqa(*data, answers, protocol);
  };
  if (source.protocol == "lmms") into.max_new_tokens = kLmmsTokens;
}

void open_textvqa(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_textvqa(source), source.dataset.samples, kByQuestion);
  into.samples = samples_of(data);
  into.score = [data](const Answers& answers) { return score_textvqa(*data, answers); };

  // How often each question is asked, and the only question of an image where there is one.
  struct Index {
    std::unordered_set<std::string> keys;
    std::unordered_map<std::string, std::vector<std::string>> of_image;
  };
  const auto index = std::make_shared<Index>();
  for (const Sample& sample : data->samples) {
    index->keys.insert(sample.key);
    index->of_image[sample.id].push_back(sample.key);
  }
  into.key_of = [index]() -> KeyOf {
    const auto counts = std::make_shared<std::unordered_map<std::string, int64_t>>();
    return [index, counts](const Json& record, const std::string& where) {
      const std::string id = question_id_text(record, where);
      if (!has(record, "prompt")) {
        const auto image = index->of_image.find(id);
        const size_t asked = image == index->of_image.end() ? 0 : image->second.size();
        require(asked <= 1, "{}: 'prompt' is missing, and {} questions are asked about image {}", where, asked, id);
        return asked == 1 ? image->second[0] : textvqa_key(id, "");
      }
      const std::string key = textvqa_key(id, textvqa_question(get_string(record, "prompt", where), where));
      // A question that stands in the file twice has two lines of answers; lines past the last take its place.
      int64_t& count = (*counts)[key];
      if (count == 0 || index->keys.contains(textvqa_repeat(key, count + 1))) ++count;
      return textvqa_repeat(key, count);
    };
  };
}

void open_pope(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_pope(source), source.dataset.samples, kById);
  into.samples = samples_of(data);
  into.score = [data, protocol = source.protocol](const Answers& answers) {
    return score_pope(*data, answers, protocol);
  };
}

void open_mme(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_mme(source), source.dataset.samples,
                           [](const Mme& mme, size_t i) { return std::to_string(mme.questions[i].pair); });
  into.samples = samples_of(data);
  into.score = [data, protocol = source.protocol](const Answers& answers) {
    return score_mme(*data, answers, protocol);
  };
  if (source.protocol == "lmms") into.max_new_tokens = kLmmsTokens;
  into.key_of = [data]() -> KeyOf {
    return [data](const Json& record, const std::string& where) {
      return mme_key(*data, question_id_text(record, where), get_string(record, "prompt", where), where);
    };
  };
}

void open_mmbench(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_mmbench(source), source.dataset.samples, [](const Mmbench& all, size_t i) {
    return std::to_string(all.questions[i].index % kMmbenchRotation);
  });
  into.samples = samples_of(data);
  into.score = [data, rule = into.rule](const Answers& answers) { return score_mmbench(*data, answers, rule); };
}

}  // namespace

const std::vector<Benchmark>& benchmarks() {
  static const std::vector<Benchmark> table = {
      {"vqa", {"llava"}, {}, 128, "mean score", open_plain},
      {"vqav2", {"llava", "lmms"}, {}, 128, "mean soft accuracy", open_vqav2},
      {"gqa", {"llava", "lmms"}, {}, 128, "accuracy", open_gqa},
      {"scienceqa", {"llava", "lmms"}, {}, 1024, "accuracy of questions with an image", open_scienceqa},
      {"textvqa", {"llava", "lmms"}, {}, 128, "mean soft accuracy", open_textvqa},
      {"pope", {"llava", "lmms"}, {}, 128, "mean F1 of the splits", open_pope},
      {"mme", {"llava", "lmms"}, {}, 128, "perception points", open_mme, true},
      {"mmbench", {"llava", "lmms", "plain"}, mmbench_rules(), 1024, "hit rate of the groups", open_mmbench},
  };
  return table;
}

const Benchmark& benchmark_named(const std::string& name) {
  std::vector<std::string> names;
  for (const Benchmark& one : benchmarks()) {
    if (one.name == name) return one;
    names.push_back(one.name);
  }
  fail("benchmark: expected one of {}, found '{}'{}", fmt::join(names, ", "), printable(name),
       did_you_mean(name, names));
}

OpenBenchmark open_benchmark(const EvaluateOptions& options, bool images_needed) {
  const auto choose = [&](std::string_view what, const std::string& given, const std::vector<std::string>& known) {
    if (given.empty()) return known.empty() ? std::string() : known[0];
    require(!known.empty(), "{}: benchmark {} has none to choose, found '{}'", what, options.benchmark,
            printable(given));
    check_label(given, known, what, "benchmark " + options.benchmark);
    return given;
  };
  OpenBenchmark open;
  open.benchmark = &benchmark_named(options.benchmark);
  open.protocol = choose("protocol", options.protocol, open.benchmark->protocols);
  // lmms-eval's protocol brings its own rule; another one may still be named.
  const bool own_rule = open.protocol == "lmms" && !open.benchmark->rules.empty() && options.rule.empty();
  open.rule = own_rule ? "lmms" : choose("rule", options.rule, open.benchmark->rules);
  open.max_new_tokens = open.benchmark->max_new_tokens;
  open.key_of = [] { return KeyOf(question_id_text); };
  open.benchmark->open({options.dataset, open.protocol, images_needed}, open);
  if (options.max_new_tokens > 0) open.max_new_tokens = options.max_new_tokens;
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
