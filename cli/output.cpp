#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "core/error.h"

namespace yopo::cli {

namespace {

[[noreturn]] void fail_output(int code) {
  if (code == EPIPE) throw ReaderLeft();
  fail("cannot write to standard output: {}", code == EBADF ? "it is closed" : std::strerror(code));
}

bool g_muted = false;

void write_all(std::string_view text) {
  if (g_muted) return;
  while (!text.empty()) {
    const ssize_t step = ::write(STDOUT_FILENO, text.data(), text.size());
    if (step < 0 && errno == EINTR) continue;
    if (step < 0) fail_output(errno);
    text.remove_prefix(size_t(step));
  }
}

}  // namespace

void print_exactly(std::string_view text) {
  static const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  if (terminal)
    print(text);
  else
    write_all(text);
}

void print(std::string_view text) { write_all(escaped_lines(text)); }

void mute_output() { g_muted = true; }

void finish_output() {
  // Network file systems tell of a full disk here. The descriptor itself stays: its number must not be given away.
  const int copy = ::dup(STDOUT_FILENO);
  if (copy >= 0 && ::close(copy) != 0 && errno != EINTR) fail_output(errno);
}

}  // namespace yopo::cli
