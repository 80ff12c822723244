// The processes that a launcher started together: they agree, wait for each other, and end together.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/interrupt.h"
#include "ranks/launcher.h"
#include "ranks/member.h"
#include "ranks/store.h"

namespace yopo {

/// What a rank ended with.
struct RankFailure {
  int rank = 0, code = 0;
  std::string message;
};

/// Another rank has failed, and this one ends with its exit code.
class RankFailed : public std::runtime_error {
 public:
  RankFailed(const std::string& message, int code) : std::runtime_error(message), code_(code) {}
  int code() const { return code_; }

 private:
  int code_;
};

struct GroupOptions {
  std::chrono::milliseconds join{300'000};    // how long ranks wait for each other at the start
  std::chrono::milliseconds silence{15'000};  // after which a rank that gives no sign of life has failed
  std::chrono::milliseconds pulse{500};       // between two signs of life
};

/// All ranks call the same functions in the same order; each returns when the others have come as far as it needs.
/// Meanwhile it sleeps. A rank that failed, was killed or fell silent is a RankFailed, in a wait at once and in
/// check_interrupt() as Interrupted. For the thread that made it, but for what Deal does.
class RankGroup {
 public:
  /// UserError naming the ranks that did not come in time, or that came twice.
  RankGroup(const Launcher& launcher, const GroupOptions& options = {});
  ~RankGroup();
  RankGroup(const RankGroup&) = delete;
  RankGroup& operator=(const RankGroup&) = delete;

  int rank() const { return launcher_.rank; }
  int size() const { return launcher_.size; }
  bool leads() const { return rank() == 0; }
  std::string name(int rank) const;
  std::string name() const { return name(rank()); }
  /// Whether that rank is on this machine.
  bool is_here(int rank) const;
  /// How long a rank waits for what another one has already done: at the start for it to come, later for its files.
  std::chrono::milliseconds patience() const { return options_.join; }

  void barrier() { (void)gather(""); }
  /// What rank 0 gave, on all ranks.
  std::string broadcast(const std::string& bytes);
  /// What each rank gave, on all of them.
  std::vector<std::string> gather(const std::string& bytes);
  /// UserError, the same on all ranks, that names the first rank to whom something is not what it is to rank 0, and the
  /// first line that differs. Pairs of a name and a text, the same names on all ranks.
  void agree(const std::vector<std::pair<std::string, std::string>>& what);

  /// The end of a rank that has done its work; rank 0 stays as long as the others need it.
  void leave();
  /// The end of one that has not: the others hear of it. `interrupted`: by a signal of its own. What this rank is to
  /// end with, which may be the failure of another one that this one has only followed.
  RankFailure leave_with(int code, const std::string& message, bool interrupted);

 private:
  friend class Deal;
  std::string next_step() { return key("step", int(++step_)); }
  std::string key(const std::string& name, int number) const;
  void put(const std::string& key, const std::string& bytes);
  std::string take(const std::string& key);
  /// Sleeps a little longer each time. Throws as everything here does.
  void pause(std::chrono::microseconds& how_long) const;
  void wait_for(const std::vector<std::string>& keys) const;
  void meet();
  void watch();
  void look(Store& store);
  RankFailure lost() const;
  void failed(Store* store, RankFailure failure);
  std::optional<RankFailure> failure() const;
  std::string text(const RankFailure& failure) const;
  void throw_failure() const;

  Launcher launcher_;
  GroupOptions options_;
  std::chrono::steady_clock::time_point until_;
  bool hosts_ = false, left_ = false;
  std::unique_ptr<Store> store_, watching_;
  std::vector<Member> members_;
  int64_t step_ = 0;

  // Of the watching thread.
  int64_t beats_ = 0;
  std::vector<std::pair<std::string, std::chrono::steady_clock::time_point>> seen_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<RankFailure> failure_;
  std::atomic<bool> has_failed_{false};
  bool stop_ = false;
  std::mutex looking_;
  std::unique_ptr<StopWish> wish_;
  std::thread watcher_;
};

/// Whether this process does what only one does: rank 0, or the only one.
inline bool leads(const RankGroup* ranks) { return ranks == nullptr || ranks->leads(); }

}  // namespace yopo
