#include "runtime/busy_machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <omp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>
#include <system_error>

namespace yopo::runtime {
namespace {

constexpr auto interval = std::chrono::milliseconds(50);
constexpr size_t most_threads = 32;  // looked at: enough to see that cores are short

/// Nanoseconds that each of this process's threads has waited for a core (/proc/PID/schedstat, second number).
std::map<int64_t, int64_t> waited_by_thread() {
  std::map<int64_t, int64_t> waited;
  DIR* threads = ::opendir("/proc/self/task");
  if (!threads) return waited;
  while (const dirent* entry = ::readdir(threads)) {
    if (entry->d_name[0] == '.' || waited.size() >= most_threads) continue;
    const std::string path = std::string("/proc/self/task/") + entry->d_name + "/schedstat";
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    char text[96];
    const ssize_t size = ::read(file, text, sizeof text);
    ::close(file);
    int64_t running = 0, waiting = 0;
    const char* end = text + (size > 0 ? size : 0);
    const auto first = std::from_chars(text, end, running);
    if (first.ec != std::errc() || first.ptr == end) continue;
    const auto second = std::from_chars(first.ptr + 1, end, waiting);
    if (second.ec == std::errc()) waited[std::atoll(entry->d_name)] = waiting;
  }
  ::closedir(threads);
  return waited;
}

}  // namespace

bool Contention::update(const std::map<int64_t, int64_t>& waited, int64_t passed) {
  int64_t most = 0;
  for (const auto& [thread, total] : waited)
    if (const auto found = before_.find(thread); found != before_.end()) most = std::max(most, total - found->second);
  before_ = waited;
  constexpr double newest = 0.3, contended = 0.1, quiet = 0.05;
  recent_ += newest * (std::min(1.0, double(most) / double(std::max<int64_t>(passed, 1))) - recent_);
  quiet_ = recent_ < quiet ? quiet_ + passed : 0;
  if (recent_ >= contended)
    now_ = true;
  else if (quiet_ >= 500'000'000)
    now_ = false;
  return now_;
}

BusyMachine::BusyMachine() {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT") || waited_by_thread().empty()) return;
  // OpenMP ends the process where it cannot make a thread; within a limit of address space that is not ours to risk.
  rlimit space{};
  if (::getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur != RLIM_INFINITY) return;
  try {
    watcher_ = std::thread([this] { watch(); });
  } catch (const std::system_error&) {
    // Only speed is lost.
  }
}

BusyMachine::~BusyMachine() {
  if (!watcher_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  watcher_.join();
}

void BusyMachine::watch() {
  using Clock = std::chrono::steady_clock;
  Contention contention;
  contention.update(waited_by_thread(), 1);
  std::thread holder;
  Clock::time_point last = Clock::now();
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, interval, [this] { return stopping_; })) {
    lock.unlock();
    const Clock::time_point now = Clock::now();
    const bool contended = contention.update(waited_by_thread(), std::chrono::nanoseconds(now - last).count());
    last = now;
    if (contended != contended_) {
      lock.lock();
      contended_ = contended;
      lock.unlock();
      changed_.notify_all();
      if (holder.joinable()) holder.join();
      if (contended) {
        try {
          holder = std::thread([this] { hold(); });
        } catch (const std::system_error&) {
          // Only speed is lost.
        }
      }
    }
    lock.lock();
  }
  lock.unlock();
  if (holder.joinable()) holder.join();
}

/// GNU's OpenMP spins a few hundred times instead of hundreds of thousands while it has more threads than there are
/// cores (gomp_managed_threads in its wait.h): a team of sleepers, one more than cores, sees to that.
void BusyMachine::hold() {
#pragma omp parallel num_threads(omp_get_num_procs() + 1)
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return stopping_ || !contended_; });
  }
}

}  // namespace yopo::runtime
