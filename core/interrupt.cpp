#include "core/interrupt.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace yopo {

namespace {

std::atomic<bool> g_interrupted{false};
thread_local const std::function<bool()>* t_wish = nullptr;

sigset_t interrupts() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  struct sigaction hang_up {};
  if (::sigaction(SIGHUP, nullptr, &hang_up) == 0 && hang_up.sa_handler != SIG_IGN) sigaddset(&set, SIGHUP);
  return set;
}

/// For the last moment: takes no lock, waits for nobody. A terminal's live line is cleared first.
void say_at_once(std::string_view line) {
  pollfd stderr_now{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&stderr_now, 1, 0) != 1 || (stderr_now.revents & POLLOUT) == 0) return;
  if (::isatty(STDERR_FILENO) == 1) (void)!::write(STDERR_FILENO, "\r\x1b[K", 4);
  (void)!::write(STDERR_FILENO, line.data(), line.size());
}

/// Lives until the process ends, when nothing that has a destructor is left: it touches nothing of that kind.
void* wait_for_interrupts(void*) {
  const sigset_t set = interrupts();
  while (true) {
    int signal = 0;
    if (::sigwait(&set, &signal) != 0 || !g_interrupted.exchange(true)) continue;
    say_at_once("yopo: interrupted\n");
    ::_exit(130);
  }
}

}  // namespace

void block_interrupts() {
  const sigset_t set = interrupts();
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void catch_interrupts() {
  block_interrupts();
  // It hears these alone: everybody else's signals are not for a thread that only waits.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int code = ::pthread_create(&thread, nullptr, wait_for_interrupts, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (code != 0) fail("cannot start a thread: {}", std::strerror(code));
  ::pthread_detach(thread);
}

bool interrupted() { return g_interrupted; }

void check_interrupt() {
  if (interrupted() || (t_wish && *t_wish && (*t_wish)())) throw Interrupted("interrupted");
}

StopWish::StopWish(std::function<bool()> wish) : wish_(std::move(wish)), before_(std::exchange(t_wish, &wish_)) {}
StopWish::~StopWish() { t_wish = before_; }

}  // namespace yopo
