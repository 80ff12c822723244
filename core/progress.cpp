#include "core/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <mutex>
#include <set>

#include "core/error.h"
#include "core/interrupt.h"

namespace yopo {

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kLiveEvery{0.1};
constexpr Seconds kPlainEvery{5};
constexpr Seconds kSinkEvery{0.1};
// Work shorter than this needs no progress: a line would only be noise.
constexpr Seconds kWorthShowing{1};

std::atomic<bool> g_quiet{false};
// One writer at a time; also guards g_live and g_sink.
std::mutex g_output;
std::optional<ProgressSink> g_sink;
bool g_live = false;  // a live line stands on the terminal, without its newline

void write_all(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t step = ::write(STDERR_FILENO, text.data() + at, text.size() - at);
    if (step < 0 && errno == EINTR) continue;
    if (step <= 0) return;  // stderr is gone: progress is not worth failing for
    at += size_t(step);
  }
}

/// The caller holds g_output.
void write_line(const std::string& line) {
  write_all((g_live ? "\r\x1b[K" : "") + line + "\n");
  g_live = false;
}

/// "0:07", "12:34", "1:02:03".
std::string clock_text(double seconds) {
  const auto whole = int64_t(std::llround(std::clamp(seconds, 0.0, 3.6e9)));
  const int64_t hours = whole / 3600, minutes = whole / 60 % 60;
  return hours > 0 ? fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60)
                   : fmt::format("{}:{:02}", minutes, whole % 60);
}

/// Three significant digits, whole from a hundred on.
std::string rate_text(double rate) { return rate >= 100 ? fmt::format("{:.0f}", rate) : fmt::format("{:.3g}", rate); }

size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10 ? size.ws_col : 80;
}

}  // namespace

void set_quiet(bool quiet) { g_quiet = quiet; }
bool quiet() { return g_quiet; }

void set_progress_sink(std::optional<ProgressSink> sink) {
  const std::lock_guard lock(g_output);
  if (g_live) write_all("\n");
  g_live = false;
  g_sink = std::move(sink);
}

void note(const std::string& text) {
  if (g_quiet) return;
  const std::string line = escaped(text);
  const std::lock_guard lock(g_output);
  if (!g_sink)
    write_line(line);
  else if (g_sink->note)
    g_sink->note(line);
}

void warn(const std::string& text) {
  if (g_quiet) return;
  const std::string line = escaped(text);
  const std::lock_guard lock(g_output);
  if (!g_sink)
    write_line("warning: " + line);
  else if (g_sink->warning)
    g_sink->warning(line);
}

void warn_once(const std::string& line) {
  static std::mutex guard;
  static std::set<std::string> told;
  {
    const std::lock_guard lock(guard);
    if (!told.insert(line).second) return;
  }
  warn(line);
}

Progress::Progress(const std::string& what, int64_t total, std::string unit, int64_t done)
    : what_(escaped(what)),
      unit_(std::move(unit)),
      total_(total),
      done_(done),
      first_(done),
      start_(Clock::now()),
      shown_(start_),
      told_(start_),
      terminal_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  // Left without finish(), by an exception: what follows must not be written into the live line.
  if (finished_ || !terminal_) return;
  const std::lock_guard lock(g_output);
  if (g_live) write_all("\n");
  g_live = false;
}

void Progress::tick(int64_t units) {
  done_ += units;
  part_ = std::max(part_ - double(units), 0.0);
  look();
}

void Progress::part(double units) {
  part_ = units;
  look();
}

void Progress::look() {
  check_interrupt();
  if (g_quiet || finished_) return;
  report(false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (!g_quiet) report(true);
}

void Progress::report(bool last) {
  const auto now = Clock::now();
  const ProgressReport report{what_, unit_, double(done_) + part_, total_, first_, Seconds(now - start_).count(), last};
  const std::lock_guard lock(g_output);
  if (g_sink) {
    if (!last && now - told_ < kSinkEvery) return;
    told_ = now;
    if (g_sink->progress) g_sink->progress(report);
    return;
  }
  if (now - start_ < kWorthShowing || (!last && now - shown_ < (terminal_ ? kLiveEvery : kPlainEvery))) return;
  shown_ = now;
  show(report);
}

/// On stderr; the caller holds g_output.
void Progress::show(const ProgressReport& report) const {
  const double seconds = std::max(report.seconds, 1e-9);
  // A resumed run's earlier units took none of this run's time.
  const double rate = (report.done - double(report.before)) / seconds, total = double(report.total);
  std::string line = report.total > 0 && !report.finished
                         ? fmt::format("{}: {}/{} {} ({:.0f}%)", report.what, done_, report.total, report.unit,
                                       100.0 * report.done / total)
                         : fmt::format("{}: {} {}", report.what, done_, report.unit);
  if (report.finished) line += fmt::format(" in {}", clock_text(seconds));
  line += fmt::format(", {} {}/s", rate_text(rate), report.unit);
  if (!report.finished && total > report.done && rate > 0)
    line += fmt::format(", {} left", clock_text((total - report.done) / rate));
  if (report.finished || !terminal_) {
    write_line(line);
    return;
  }
  // A line that wraps could not be rewritten in place.
  write_all("\r\x1b[K" + line.substr(0, terminal_width() - 1));
  g_live = true;
}

}  // namespace yopo
