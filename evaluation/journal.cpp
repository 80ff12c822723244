#include "evaluation/journal.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "core/held_file.h"
#include "core/progress.h"

namespace yopo {

std::string question_id_text(const Json& record, const std::string& where) {
  require(record.is_object() && record.contains("question_id"), "{}: expected an object with question_id", where);
  const Json& id = record["question_id"];
  if (id.is_string()) return id.get<std::string>();
  require(id.is_number_integer(), "{}: question_id: expected a number or a text, found {}", where, id.dump());
  return id.dump();
}

Json question_id_json(const std::string& id, bool integer) {
  int64_t number = 0;
  const char* end = id.data() + id.size();
  if (integer && std::from_chars(id.data(), end, number).ptr == end) return number;
  return id;
}

std::function<KeyOf()> question_keys(const std::vector<Sample>& samples) {
  using Numbers = std::unordered_map<std::string, int64_t>;
  const auto most = std::make_shared<Numbers>();  // of the ids that repeat: how often they do
  for (const Sample& sample : samples)
    if (sample.repeat > 1) (*most)[sample.id] = std::max((*most)[sample.id], sample.repeat);
  if (most->empty()) return [] { return KeyOf(question_id_text); };
  return [most] {
    const auto counts = std::make_shared<Numbers>();
    return [most, counts](const Json& record, const std::string& where) {
      std::string id = question_id_text(record, where);
      const auto repeats = most->find(id);
      if (repeats == most->end()) return id;
      if (has(record, "metadata") && record["metadata"].is_object() && has(record["metadata"], "repeat"))
        return repeated_key(id, get_int(record["metadata"], "repeat", where + ": metadata", 1, repeats->second));
      // Lines past the last question of the id take its place.
      int64_t& count = (*counts)[id];
      count = std::min(count + 1, repeats->second);
      return repeated_key(id, count);
    };
  };
}

namespace {

constexpr std::chrono::seconds kSyncEvery{1};

}  // namespace

AnswerJournal::AnswerJournal(const fs::path& path, const std::string& fingerprint, const KeyOf& key_of) : path_(path) {
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  require(!error, "{}: cannot create the folder: {}", path.parent_path().string(), error.message());
  // Two runs over one journal would ask everything twice.
  descriptor_ = open_held(path, "another yopo is writing answers into this file; wait for it or choose another output");
  try {
    take_up(fingerprint, key_of);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

void AnswerJournal::take_up(const std::string& fingerprint, const KeyOf& key_of) {
  const fs::path seal = path_.string() + ".fingerprint";
  const std::string text = read_text(descriptor_, path_);
  if (text.empty()) {
    // Nobody's answers yet: new, or killed before the first of them.
    write_text(seal, fingerprint + "\n");
    return;
  }
  require(fs::exists(seal),
          "{}: exists, but not which model it belongs to ({} is missing); remove it or choose another output",
          path_.string(), seal.string());
  std::string found = read_text(seal);
  while (!found.empty() && found.back() == '\n') found.pop_back();
  require(found == fingerprint,
          "{}: holds answers of another model, plan, question file or way to make prompts; remove it or choose another "
          "output",
          path_.string());
  const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
  size_t line = 0;
  for (size_t at = 0; at < whole;) {
    const size_t end = text.find('\n', at);
    const std::string where = fmt::format("{}:{}", path_.string(), ++line);
    const std::string_view found_line = std::string_view(text).substr(at, end - at);
    const Json record = parse_json(found_line, where);
    const std::string key = key_of(record, where);
    answers_[key] = get_string(record, "text", where);
    lines_[key] = found_line;
    at = end + 1;
  }
  // A kill can leave half a line behind the last whole one; it was never counted as answered.
  if (whole == text.size()) return;
  if (::ftruncate(descriptor_, off_t(whole)) != 0)
    fail("{}: cannot drop its unfinished last line: {}", path_.string(), std::strerror(errno));
}

AnswerJournal::~AnswerJournal() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void AnswerJournal::add(const Sample& sample, const std::string& text, const std::string& model) {
  Json record = Json::object();
  record["question_id"] = question_id_json(sample.id, sample.integer_id);
  if (!sample.options.empty()) record["round_id"] = 0;  // options in the order of the file: the first round
  record["prompt"] = sample.prompt.value_or(sample.text);
  record["text"] = text;
  if (!sample.options.empty()) {
    record["options"] = sample.options;
    record["option_char"] = Json::array();
    for (size_t i = 0; i < sample.options.size(); ++i) record["option_char"].push_back(std::string(1, char('A' + i)));
  }
  // The original draws a random id; one that follows from the content keeps runs byte-equal.
  record["answer_id"] = Fingerprint().add(sample.id).add(text).hex().substr(0, 22);
  record["model_id"] = model;
  record["metadata"] = Json::object();
  if (sample.repeat > 1) record["metadata"]["repeat"] = sample.repeat;
  const std::string line = record.dump(-1, ' ', false, Json::error_handler_t::replace);
  pending_ += line + "\n";
  answers_[question_key(sample)] = text;
  lines_[question_key(sample)] = line;
}

void AnswerJournal::flush(bool sync) {
  size_t at = 0;
  while (at < pending_.size()) {
    const ssize_t wrote = ::write(descriptor_, pending_.data() + at, pending_.size() - at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
    at += size_t(wrote);
  }
  pending_.clear();
  const auto now = std::chrono::steady_clock::now();
  if (!sync && now - synced_ < kSyncEvery) return;
  synced_ = now;
  while (::fsync(descriptor_) != 0)
    if (errno != EINTR) fail("{}: cannot sync: {}", path_.string(), std::strerror(errno));
}

void AnswerJournal::arrange(const std::vector<const Sample*>& order) {
  flush(true);
  std::string arranged;
  for (const Sample* sample : order) {
    const auto line = lines_.find(question_key(*sample));
    ensure(line != lines_.end(), "an answer to every question");
    arranged.append(line->second).append("\n");
  }
  const auto file = MappedFile::open(path_);
  const auto wanted = std::as_bytes(std::span(arranged));
  if (!std::equal(wanted.begin(), wanted.end(), file->bytes().begin(), file->bytes().end()))
    write_text(path_, arranged);
}

}  // namespace yopo
