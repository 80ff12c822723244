// A machine that others use, too. OpenMP threads spin while they wait for each other, which is right on idle cores and
// disastrous where the one waited for has none: here they stop spinning while this process's threads wait for cores.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>

namespace yopo::runtime {

/// Whether threads have to wait for cores, from how long they waited in the last interval.
class Contention {
 public:
  /// `waited`: of each thread (by id) since it began, in nanoseconds; `passed`: since the last call. On where the
  /// thread that waits most waited for a tenth of the last intervals (later ones count more), off after half a second
  /// of less than half of that. On an idle machine single intervals come to a tenth, too.
  bool update(const std::map<int64_t, int64_t>& waited, int64_t passed);
  bool now() const { return now_; }

 private:
  std::map<int64_t, int64_t> before_;
  double recent_ = 0;  // share of the time that was waited
  int64_t quiet_ = 0;  // nanoseconds without contention
  bool now_ = false;
};

/// Watches from a thread of its own until it is destroyed. Does nothing where the system does not say how long threads
/// wait, or where the user chose how OpenMP waits (OMP_WAIT_POLICY, GOMP_SPINCOUNT).
class BusyMachine {
 public:
  BusyMachine();
  ~BusyMachine();
  BusyMachine(const BusyMachine&) = delete;
  BusyMachine& operator=(const BusyMachine&) = delete;

 private:
  void watch();
  void hold();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false, contended_ = false;
  std::thread watcher_;
};

}  // namespace yopo::runtime
