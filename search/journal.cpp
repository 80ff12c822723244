#include "search/journal.h"

#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/held_file.h"
#include "core/json.h"

namespace yopo {

SearchJournal::SearchJournal(const fs::path& path, const std::string& fingerprint, bool begun) : path_(path) {
  require(!begun || fs::exists(path), "{}: no search has begun: nothing was measured yet", path.string());
  if (path.empty()) return;
  descriptor_ = open_held(path, "another yopo is searching into this file; wait for it or choose another output");
  try {
    const std::string text = read_text(descriptor_, path_);
    const size_t whole = text.rfind('\n') == std::string::npos ? 0 : text.rfind('\n') + 1;
    size_t line = 0, kept = 0;
    for (size_t at = 0; at < whole; ++line) {
      const size_t end = text.find('\n', at);
      const std::string where = fmt::format("{}:{}", path_.string(), line + 1);
      const Json record = parse_json(std::string_view(text).substr(at, end - at), where);
      at = end + 1;
      if (line == 0 && get_string(record, "search", where) != fingerprint) {
        require(!begun,
                "{}: of another search: model, samples, budget, options of the search and release have to be the same",
                path_.string());
        break;
      }
      if (line > 0) {
        const Verdict verdict{get_number(record, "loss", where), get_number(record, "kl", where),
                              get_number(record, "same", where)};
        require(std::isfinite(verdict.loss), "{}: loss: expected a finite number, found {}", where, verdict.loss);
        known_[get_string(record, "key", where)] = verdict;
      }
      kept = at;
    }
    require(!begun || kept > 0, "{}: empty: nothing was measured yet", path_.string());
    if (kept < text.size() && ::ftruncate(descriptor_, off_t(kept)) != 0)
      fail("{}: cannot drop what belongs to another search: {}", path_.string(), std::strerror(errno));
    if (kept == 0) append(Json{{"search", fingerprint}}.dump());
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

SearchJournal::~SearchJournal() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

const Verdict* SearchJournal::find(const std::string& key) const {
  const auto found = known_.find(key);
  return found == known_.end() ? nullptr : &found->second;
}

void SearchJournal::add(const std::string& key, const Verdict& verdict) {
  known_[key] = verdict;
  if (descriptor_ < 0) return;
  Json record = Json::object();
  record["key"] = key;
  record["loss"] = verdict.loss;
  record["kl"] = verdict.kl;
  record["same"] = verdict.same;
  append(record.dump());
}

std::string SearchJournal::text() const {
  Json all = Json::array();
  for (const auto& [key, verdict] : known_) all.push_back({key, verdict.loss, verdict.kl, verdict.same});
  return all.dump();
}

void SearchJournal::take_up(const std::string& text) {
  for (const Json& one : parse_json(text, "rank 0's journal of the search"))
    known_[one.at(0).get<std::string>()] = {one.at(1).get<double>(), one.at(2).get<double>(), one.at(3).get<double>()};
}

void SearchJournal::append(const std::string& line) {
  const std::string text = line + "\n";
  for (size_t at = 0; at < text.size();) {
    const ssize_t wrote = ::write(descriptor_, text.data() + at, text.size() - at);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) fail("{}: cannot write: {}", path_.string(), std::strerror(errno));
    at += size_t(wrote);
  }
}

}  // namespace yopo
