#include "evaluation/benchmarks/benchmark.h"
#include "core/error.h"
#include "evaluation/benchmarks/choose.h"
#include "evaluation/benchmarks/textvqa/score.h"

namespace yopo {

namespace {

/// How often each question is asked, and the only question of an image where there is one.
struct Index {
  std::unordered_set<std::string> keys;
  std::unordered_map<std::string, std::vector<std::string>> of_image;
};

/// Lines of one question together: which of them an answer belongs to is known by their order alone.
std::string question_of(const TextVqa& data, size_t i) {
  const std::string& key = data.samples[i].key;  // image, question, and which of several, a line each
  return key.substr(0, key.find('\n', key.find('\n') + 1));
}

/// The key of an answer's record; `counts` of those before it in the file.
std::string key_of(const Index& index, std::unordered_map<std::string, int64_t>& counts, const Json& record,
                   const std::string& where) {
  const std::string id = question_id_text(record, where);
  if (!index.of_image.contains(id)) return textvqa_key(id, "");  // an image that is not asked about
  if (!has(record, "prompt")) {
    const std::vector<std::string>& asked = index.of_image.at(id);
    require(asked.size() == 1, "{}: 'prompt' is missing, and {} questions are asked about image {}", where,
            asked.size(), printable(id));
    return asked[0];
  }
  const std::string key = textvqa_key(id, textvqa_question(get_string(record, "prompt", where), where));
  // A question that stands in the file twice has two lines of answers; lines past the last take its place.
  int64_t& count = counts[key];
  if (count == 0 || index.keys.contains(repeated_key(key, count + 1))) ++count;
  return repeated_key(key, count);
}

void open_textvqa(const BenchmarkSource& source, OpenBenchmark& into) {
  const auto data = chosen(read_textvqa(source), source.dataset.samples, question_of);
  into.samples = samples_of(data);
  into.score = [data](const Answers& answers) { return score_textvqa(*data, answers); };
  const auto index = std::make_shared<Index>();
  for (const Sample& sample : data->samples) {
    index->keys.insert(sample.key);
    index->of_image[sample.id].push_back(sample.key);
  }
  into.key_of = [index]() -> KeyOf {
    const auto counts = std::make_shared<std::unordered_map<std::string, int64_t>>();
    return [index, counts](const Json& record, const std::string& where) {
      return key_of(*index, *counts, record, where);
    };
  };
}

}  // namespace

const Benchmark& textvqa_benchmark() {
  static const Benchmark benchmark{.name = "textvqa",
                                   .protocols = {{}, {.name = "lmms", .about = "as lmms-eval", .reworded = true}},
                                   .headline = "mean soft accuracy",
                                   .open = open_textvqa,
                                   .lmms = {.task = "textvqa_val"},
                                   .published = published_scores({58.2, 58.1, 56.3, 55.2}, {61.3, 59.8, 58.3, 56.7})};
  return benchmark;
}

}  // namespace yopo
