#include "evaluation/merge_answers.h"

#include <unordered_map>

#include "core/progress.h"
#include "datasets/unicode.h"

namespace yopo {

namespace {

constexpr size_t kNamed = 10;  // questions without an answer, in the message

fs::path seal_of(const fs::path& file) { return file.string() + ".fingerprint"; }

/// The fingerprint beside an answer file, "" where there is none.
std::string fingerprint_of(const fs::path& file) {
  const fs::path seal = seal_of(file);
  return fs::exists(seal) ? std::string(strip(read_text(seal, 1 << 16))) : std::string();
}

std::string shared_fingerprint(const std::vector<fs::path>& files) {
  const std::string first = fingerprint_of(files[0]);
  for (const fs::path& file : files) {
    const std::string own = fingerprint_of(file);
    require(own.empty() == first.empty(), "{} says which model its answers are of, {} does not; they cannot be merged",
            seal_of(own.empty() ? files[0] : file).string(), (own.empty() ? file : files[0]).string());
    require(own == first, "{} and {} are answers of different models, plans or question files: fingerprints {} and {}",
            files[0].string(), file.string(), printable(first), printable(own));
  }
  return first;
}

struct Line {
  std::string text, record, where;
  size_t file = 0;
};

}  // namespace

int64_t merge_answers(const std::vector<fs::path>& files, const OpenBenchmark& benchmark, const fs::path& target) {
  require(!files.empty(), "merge: no answer files are given");
  for (size_t i = 0; i < files.size(); ++i)
    for (size_t k = 0; k < i; ++k)
      require(fs::weakly_canonical(files[i]) != fs::weakly_canonical(files[k]), "merge: {} is given twice",
              files[i].string());
  const std::string fingerprint = shared_fingerprint(files);

  std::unordered_map<std::string, Line> lines;
  for (const Sample& sample : *benchmark.samples) lines.try_emplace(question_key(sample));
  // One for all files: where a question stands twice among the questions, its second answer may lie in another file.
  const KeyOf key_of = benchmark.key_of();
  for (size_t i = 0; i < files.size(); ++i)
    for (const JsonLine& line : read_json_lines(files[i])) {
      const std::string where = fmt::format("{}:{}", files[i].string(), line.line);
      const auto place = lines.find(key_of(line.value, where));
      const std::string id = question_id_text(line.value, where);
      require(place != lines.end(), "{}: question_id {} is not among the questions", where, printable(id));
      Line& known = place->second;
      const std::string text = get_string(line.value, "text", where);
      if (!known.where.empty() && known.file == i)
        warn(fmt::format("{}: question_id {} is answered again; the last answer counts", where, printable(id)));
      else if (!known.where.empty()) {
        require(known.text == text, "{} and {}: two answers to question_id {}: '{}' and '{}'", known.where, where,
                printable(id), printable(known.text), printable(text));
        continue;
      }
      known = {text, line.value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n", where, i};
    }

  std::vector<std::string> missing;
  size_t absent = 0;
  for (const Sample& sample : *benchmark.samples) {
    if (!lines.at(question_key(sample)).where.empty()) continue;
    if (absent++ < kNamed) missing.push_back(fmt::format("{} ({})", printable(sample.id), sample.where));
  }
  require(absent == 0, "merge: {} of {} questions are answered in none of the files: {}{}", absent,
          benchmark.samples->size(), fmt::join(missing, ", "), absent > kNamed ? ", ..." : "");

  AtomicFile merged(target);
  for (const Sample& sample : *benchmark.samples) merged.write(lines.at(question_key(sample)).record);
  // The seal first: answers without it would not be taken for a journal, a seal without answers harms nobody.
  if (!fingerprint.empty()) write_text(seal_of(target), fingerprint + "\n");
  merged.commit();
  return int64_t(benchmark.samples->size());
}

}  // namespace yopo
