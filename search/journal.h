// What a search has measured, so that one that was killed does not measure it again.
#pragma once

#include <map>
#include <string>

#include "core/file.h"
#include "search/judge.h"

namespace yopo {

/// Lines {"key", "loss", "kl", "same"} behind a first line {"search": fingerprint}. A search is deterministic, so it
/// comes to the same plans again and finds them here. For one thread; a lock keeps other processes out.
class SearchJournal {
 public:
  /// An empty path keeps everything in memory. A journal of other inputs begins anew; a last line that a kill cut short
  /// is dropped. UserError for a damaged file, or one that another process holds. With `begun` nothing begins anew: no
  /// file, an empty one and one of other inputs are UserErrors, and stay as they are.
  SearchJournal(const fs::path& path, const std::string& fingerprint, bool begun = false);
  ~SearchJournal();
  SearchJournal(const SearchJournal&) = delete;
  SearchJournal& operator=(const SearchJournal&) = delete;

  const Verdict* find(const std::string& key) const;
  void add(const std::string& key, const Verdict& verdict);
  size_t size() const { return known_.size(); }
  /// All of it as text, and what another process's journal holds.
  std::string text() const;
  void take_up(const std::string& text);

 private:
  void append(const std::string& line);

  fs::path path_;
  std::map<std::string, Verdict> known_;
  int descriptor_ = -1;
};

}  // namespace yopo
