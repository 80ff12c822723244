#include "cli/crashes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>

// The handlers do with system calls and their own stack: no memory of the heap, no locks.
namespace yopo::cli {

namespace {

constexpr size_t kLongestLine = 4096;

/// A line of /proc/self/maps, "7f00-7f10 r--p 0 08:01 12  /path": whether it holds the address, and then its path.
bool line_holds(std::string_view line, uintptr_t address, std::string_view& path) {
  uintptr_t ends[2] = {0, 0};
  size_t at = 0;
  for (uintptr_t& end : ends) {
    for (; at < line.size() && line[at] != '-' && line[at] != ' '; ++at) {
      const char c = line[at];
      end = end << 4 | uintptr_t(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    ++at;
  }
  const size_t slash = line.find('/');
  path = slash == std::string_view::npos ? std::string_view() : line.substr(slash);
  return address >= ends[0] && address < ends[1];
}

/// The file that is mapped at the address into `line`, 0 if there is none; its length.
size_t mapped_file(uintptr_t address, char (&line)[kLongestLine]) {
  const int maps = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (maps < 0) return 0;
  char buffer[1024];
  size_t length = 0;
  for (ssize_t got; (got = ::read(maps, buffer, sizeof buffer)) > 0;)
    for (ssize_t i = 0; i < got; ++i) {
      if (buffer[i] != '\n') {
        if (length < sizeof line) line[length++] = buffer[i];
        continue;
      }
      std::string_view path;
      if (line_holds({line, length}, address, path)) {
        std::memmove(line, path.data(), path.size());
        return path.size();
      }
      length = 0;
    }
  return 0;
}

std::atomic_flag g_told = ATOMIC_FLAG_INIT;

void tell(std::string_view text) { (void)!::write(STDERR_FILENO, text.data(), text.size()); }

void on_bus_error(int, siginfo_t* info, void*) {
  while (g_told.test_and_set()) ::pause();  // another thread is at it, and ends the process
  char path[kLongestLine];
  const size_t length = mapped_file(reinterpret_cast<uintptr_t>(info->si_addr), path);
  if (length == 0) {
    g_told.clear();
    ::signal(SIGBUS, SIG_DFL);  // no file: the same instruction ends the process as ever
    return;
  }
  for (size_t i = 0; i < length; ++i)
    if (path[i] < 0x20 || path[i] == 0x7f) path[i] = '?';  // bytes beyond ASCII are negative
  for (const std::string_view part : {std::string_view("yopo: cannot read "), std::string_view(path, length),
                                      std::string_view(": it was cut short, or its disk failed, while it was read\n")})
    tell(part);
  ::_exit(2);
}

bool g_limited = false;  // the address space is

void on_bad_address(int number, siginfo_t*, void*) {
  if (!g_limited) {
    ::signal(number, SIG_DFL);  // the same instruction ends the process as ever
    return;
  }
  while (g_told.test_and_set()) ::pause();
  tell("yopo: out of memory: the address space is limited (ulimit -v), and a library did not check what it got\n");
  ::_exit(2);
}

[[noreturn]] void on_terminate() {
  try {
    if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
  } catch (const std::bad_alloc&) {
    tell("yopo: out of memory\n");
    ::_exit(2);
  } catch (...) {
  }
  std::abort();
}

void handle(int number, void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction action {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  ::sigaction(number, &action, nullptr);
}

}  // namespace

void catch_crashes() {
  struct rlimit limit {};
  g_limited = ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  handle(SIGBUS, on_bus_error);
  handle(SIGSEGV, on_bad_address);
  std::set_terminate(on_terminate);
}

}  // namespace yopo::cli
