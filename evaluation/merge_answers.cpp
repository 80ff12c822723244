#include "evaluation/merge_answers.h"

#include <unordered_map>

#include "core/progress.h"
#include "evaluation/shard.h"

namespace yopo {

namespace {

constexpr size_t kNamed = 10;  // questions without an answer, in the message

/// The seals beside the files: all of one fingerprint, or all without.
std::vector<AnswerSeal> shared_seals(const std::vector<fs::path>& files) {
  std::vector<AnswerSeal> seals;
  for (const fs::path& file : files) {
    const std::string first = seals.empty() ? read_seal(file).fingerprint : seals[0].fingerprint;
    const std::string& own = seals.emplace_back(read_seal(file)).fingerprint;
    require(own.empty() == first.empty(), "{} says which model its answers are of, {} does not; they cannot be merged",
            seal_of(own.empty() ? files[0] : file).string(), (own.empty() ? file : files[0]).string());
    require(own == first, "{} and {} are answers of different models, plans or question files: fingerprints {} and {}",
            files[0].string(), file.string(), printable(first), printable(own));
  }
  return seals;
}

std::string part_name(const AnswerSeal& seal) { return seal.shard.whole() ? "no shard" : "shard " + seal.shard.text(); }

/// Files that are shards must be all of one division.
void check_shards(const std::vector<fs::path>& files, const std::vector<AnswerSeal>& seals) {
  const int64_t count = seals[0].shard.count;
  std::unordered_map<int64_t, size_t> file_of;
  for (size_t i = 0; i < files.size(); ++i) {
    const Shard& shard = seals[i].shard;
    require(shard.count == count, "merge: {} is {}, {} is {}: they are no parts of one division", files[0].string(),
            part_name(seals[0]), files[i].string(), part_name(seals[i]));
    if (shard.whole()) continue;
    const auto [first, fresh] = file_of.emplace(shard.number, i);
    require(fresh, "merge: {} and {} are both shard {}", files[first->second].string(), files[i].string(),
            shard.text());
  }
  std::vector<std::string> missing;
  int64_t absent = 0;
  for (int64_t number = 1; count > 1 && number <= count; ++number) {
    if (file_of.contains(number)) continue;
    if (absent++ < int64_t(kNamed)) missing.push_back(Shard{number, count}.text());
  }
  require(absent == 0, "merge: shard {}{} is missing; the files are {} of the {} shards", fmt::join(missing, ", "),
          absent > int64_t(kNamed) ? ", ..." : "", files.size(), count);
}

struct MergedLine {
  std::string text, record, where;
  size_t file = 0;
  int64_t shard = 1;
};

/// UserError naming the questions that no file answers, and of a shard its file.
void check_complete(const OpenBenchmark& benchmark, const std::unordered_map<std::string, MergedLine>& lines,
                    const std::vector<fs::path>& files, const std::vector<AnswerSeal>& seals) {
  std::vector<std::string> missing;
  std::string unfinished;
  size_t absent = 0;
  for (const Sample& sample : *benchmark.samples) {
    const MergedLine& line = lines.at(question_key(sample));
    if (!line.where.empty()) continue;
    for (size_t i = 0; unfinished.empty() && i < files.size(); ++i)
      if (!seals[i].shard.whole() && seals[i].shard.number == line.shard)
        unfinished = fmt::format("; {} (shard {}) is not finished", files[i].string(), seals[i].shard.text());
    if (absent++ < kNamed) missing.push_back(fmt::format("{} ({})", printable(sample.id), sample.where));
  }
  require(absent == 0,
          "merge: {} of {} questions are answered in none of the files: {}{}{} (asked with another --samples?)", absent,
          benchmark.samples->size(), fmt::join(missing, ", "), absent > kNamed ? ", ..." : "", unfinished);
}

}  // namespace

int64_t merge_answers(const std::vector<fs::path>& files, const OpenBenchmark& benchmark, const fs::path& target) {
  require(!files.empty(), "merge: no answer files are given");
  for (size_t i = 0; i < files.size(); ++i)
    for (size_t k = 0; k < i; ++k)
      require(fs::weakly_canonical(files[i]) != fs::weakly_canonical(files[k]), "merge: {} is given twice",
              files[i].string());
  const std::vector<AnswerSeal> seals = shared_seals(files);
  check_shards(files, seals);

  const std::vector<int64_t> shards = shards_of(benchmark, seals[0].shard.count);
  std::unordered_map<std::string, MergedLine> lines;
  for (size_t i = 0; i < shards.size(); ++i) lines[question_key((*benchmark.samples)[i])].shard = shards[i];
  // One for all files: where a question stands twice among the questions, its second answer may lie in another file.
  const KeyOf key_of = benchmark.key_of();
  for (size_t i = 0; i < files.size(); ++i)
    for (const JsonLine& line : read_json_lines(files[i])) {
      const std::string where = fmt::format("{}:{}", files[i].string(), line.line);
      const auto place = lines.find(key_of(line.value, where));
      const std::string id = question_id_text(line.value, where);
      require(place != lines.end(), "{}: question_id {} is not among the questions", where, printable(id));
      MergedLine& known = place->second;
      const Shard& shard = seals[i].shard;
      require(known.shard == shard.number, "{}: question_id {} belongs to shard {}/{}, but the file is shard {}", where,
              printable(id), known.shard, shard.count, shard.text());
      const std::string text = get_string(line.value, "text", where);
      if (!known.where.empty() && known.file == i)
        warn(fmt::format("{}: question_id {} is answered again; the last answer counts", where, printable(id)));
      else if (!known.where.empty()) {
        require(known.text == text, "{} and {}: two answers to question_id {}: '{}' and '{}'", known.where, where,
                printable(id), printable(known.text), printable(text));
        continue;
      }
      known = {text, line.value.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n", where, i, known.shard};
    }

  check_complete(benchmark, lines, files, seals);

  AtomicFile merged(target);
  for (const Sample& sample : *benchmark.samples) merged.write(lines.at(question_key(sample)).record);
  // The seal first: answers without it would not be taken for a journal, a seal without answers harms nobody.
  if (!seals[0].fingerprint.empty()) write_text(seal_of(target), seals[0].fingerprint + "\n");
  merged.commit();
  return int64_t(benchmark.samples->size());
}

}  // namespace yopo
