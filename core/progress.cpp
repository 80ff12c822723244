#include "core/progress.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <mutex>

#include "core/error.h"

namespace yopo {

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kLiveEvery{0.1};
constexpr Seconds kPlainEvery{5};
// Work shorter than this needs no progress: a line would only be noise.
constexpr Seconds kWorthShowing{1};

std::atomic<bool> g_quiet{false};
// One writer at a time; also guards g_live.
std::mutex g_output;
bool g_live = false;  // a live line stands on the terminal, without its newline

std::atomic<int> g_interrupts{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler may touch lock-free atomics only");

extern "C" void on_interrupt(int) {
  // Only async-signal-safe calls here.
  if (g_interrupts.exchange(1) != 0) _exit(130);
}

void write_all(const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t step = ::write(STDERR_FILENO, text.data() + at, text.size() - at);
    if (step < 0 && errno == EINTR) continue;
    if (step <= 0) return;  // stderr is gone: progress is not worth failing for
    at += size_t(step);
  }
}

void write_line(const std::string& line) {
  const std::lock_guard lock(g_output);
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

void note(const std::string& line) {
  if (!g_quiet) write_line(line);
}
void warn(const std::string& line) {
  if (!g_quiet) write_line("warning: " + line);
}

Progress::Progress(std::string what, int64_t total, std::string unit, int64_t done)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      done_(done),
      first_(done),
      start_(Clock::now()),
      shown_(start_),
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
  const auto now = Clock::now();
  const Seconds since_shown = now - shown_, since_start = now - start_;
  if (since_start < kWorthShowing || since_shown < (terminal_ ? kLiveEvery : kPlainEvery)) return;
  shown_ = now;
  show(false);
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  if (g_quiet || Clock::now() - start_ < kWorthShowing) return;
  show(true);
}

void Progress::show(bool last) {
  const double seconds = std::max(Seconds(Clock::now() - start_).count(), 1e-9);
  // A resumed run's earlier units took none of this run's time.
  const double done = double(done_) + part_, rate = (done - double(first_)) / seconds;
  std::string line = total_ > 0 && !last ? fmt::format("{}: {}/{} {} ({:.0f}%)", what_, done_, total_, unit_,
                                                       100.0 * done / double(total_))
                                         : fmt::format("{}: {} {}", what_, done_, unit_);
  if (last) line += fmt::format(" in {}", clock_text(seconds));
  line += fmt::format(", {} {}/s", rate_text(rate), unit_);
  if (!last && double(total_) > done && rate > 0)
    line += fmt::format(", {} left", clock_text((double(total_) - done) / rate));
  if (last || !terminal_) {
    write_line(line);
    return;
  }
  const std::lock_guard lock(g_output);
  // A line that wraps could not be rewritten in place.
  write_all("\r\x1b[K" + line.substr(0, terminal_width() - 1));
  g_live = true;
}

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // a write in progress goes on; loops notice the flag
  for (const int signal : {SIGINT, SIGTERM})
    if (::sigaction(signal, &action, nullptr) != 0) fail("cannot catch signal {}", signal);
}

bool interrupted() { return g_interrupts != 0; }

void check_interrupt() {
  if (interrupted()) throw Interrupted("interrupted");
}

}  // namespace yopo
