// Progress of long work and notes about it: to a sink of the caller's, or to stderr as a live line on a terminal and a
// plain line every few seconds elsewhere. Nothing when quiet.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace yopo {

/// How far a piece of work has come.
struct ProgressReport {
  std::string what, unit;  // "calibrate", "samples"
  double done = 0;         // units, those of an earlier run included; a fraction where one takes long
  int64_t total = 0;       // 0: unknown
  int64_t before = 0;      // of `done`, those of an earlier run
  double seconds = 0;      // of this run
  bool finished = false;
};

/// Where progress and notes go. What is empty drops what it would hear. Calls come one at a time, from the thread that
/// works; they must not throw, nor work with what they report on.
struct ProgressSink {
  std::function<void(const std::string& line)> note;
  std::function<void(const std::string& line)> warning;
  /// At most every tenth of a second, and once when the work is finished; one that fails ends without it.
  std::function<void(const ProgressReport& report)> progress;
};

/// Everything goes to `sink` from now on; without one, to stderr again (the default). For all threads.
void set_progress_sink(std::optional<ProgressSink> sink);

/// Whether progress and notes go to the sink (default) or nowhere (`--quiet`).
void set_quiet(bool quiet);
bool quiet();
/// One line to the sink unless quiet, escaped, for names of files and the like are foreign; on stderr a live progress
/// line is cleared first. From any thread.
void note(const std::string& text);
void warn(const std::string& text);
/// As warn, but a line that this process has warned of before is left out: what is read more than once is told once.
void warn_once(const std::string& line);

/// Counts towards `total` units and reports them; stderr shows rate and ETA. tick() also throws Interrupted once the
/// user has asked to stop (core/interrupt.h), so loops need only tick. For one thread.
class Progress {
 public:
  Progress(const std::string& what, int64_t total, std::string unit, int64_t done = 0);
  ~Progress();
  void tick(int64_t units = 1);
  /// Of the units that the next ticks will count so many are done, a fraction where one takes long. Shows them and
  /// throws as tick() does.
  void part(double units);
  /// Ends the live line with a summary (count, seconds, rate).
  void finish();

 private:
  void look();
  void report(bool last);
  void show(const ProgressReport& report) const;
  std::string what_, unit_;
  int64_t total_, done_, first_;
  double part_ = 0;
  std::chrono::steady_clock::time_point start_, shown_, told_;
  bool finished_ = false, terminal_;
};

}  // namespace yopo
