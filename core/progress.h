// Progress of long work: a live line on a terminal, a plain line every few seconds elsewhere, nothing when quiet.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace yopo {

/// Whether progress and notes go to stderr (default) or nowhere (`--quiet`).
void set_quiet(bool quiet);
bool quiet();
/// One line to stderr unless quiet; a live progress line is cleared first.
void note(const std::string& line);
void warn(const std::string& line);

/// Counts towards `total` units and shows rate and ETA on stderr. tick() also throws Interrupted once the user has
/// asked to stop, so loops need only tick.
class Progress {
 public:
  Progress(std::string what, int64_t total, std::string unit, int64_t done = 0);
  ~Progress();
  void tick(int64_t units = 1);
  /// Of the units that the next ticks will count so many are done, a fraction where one takes long. Shows them and
  /// throws as tick() does.
  void part(double units);
  /// Ends the live line with a summary (count, seconds, rate).
  void finish();

 private:
  void look();
  void show(bool last);
  std::string what_, unit_;
  int64_t total_, done_, first_;
  double part_ = 0;
  std::chrono::steady_clock::time_point start_, shown_;
  bool finished_ = false, terminal_;
};

/// Installs SIGINT/SIGTERM handlers that set a flag; the second signal ends the process at once.
void catch_interrupts();
bool interrupted();
/// Throws Interrupted if the flag is set.
void check_interrupt();

}  // namespace yopo
