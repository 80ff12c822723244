// Pieces of work that ranks take as each is free.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ranks/group.h"

namespace yopo {

/// Items 0 .. count - 1; each is taken by one thread of one rank, and all ranks get what it gave. All ranks of the
/// group make a deal together and call finish(); take() and give() may come from any thread, the rest from the group's.
class Deal {
 public:
  Deal(RankGroup& ranks, size_t count);
  size_t count() const { return count_; }
  /// The next item that nobody has taken; count() and above when there is none.
  size_t take();
  /// Shows all ranks what came of an item that this one has taken.
  void give(size_t item, const std::string& bytes);
  /// Calls `see` with what was given since the last time, by any rank. Does not wait.
  void look(const std::function<void(size_t item, const std::string& bytes)>& see);
  /// The same until all items were seen.
  void finish(const std::function<void(size_t item, const std::string& bytes)>& see);

 private:
  RankGroup& ranks_;
  size_t count_, seen_ = 0, read_ = 0;
  std::string taken_, given_;
};

}  // namespace yopo
