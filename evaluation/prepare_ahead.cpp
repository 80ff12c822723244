#include "evaluation/prepare_ahead.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace yopo {

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

PrepareAhead::PrepareAhead(size_t count, size_t ahead, size_t workers, std::function<ModelInput(size_t)> prepare)
    : prepare_(std::move(prepare)), count_(count), slots_(std::max<size_t>(1, std::min(ahead, count))) {
  try {
    for (size_t i = 0; i < std::min(std::max<size_t>(1, workers), count); ++i)
      workers_.emplace_back([this] { work(); });
  } catch (const std::system_error& error) {
    // Fewer threads than wished for do the same work.
    if (workers_.empty()) fail("cannot start a thread: {}", error.what());
  }
}

PrepareAhead::~PrepareAhead() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  room_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void PrepareAhead::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    room_.wait(lock, [&] { return stop_ || begun_ == count_ || begun_ < taken_ + slots_.size(); });
    if (stop_ || begun_ == count_) return;
    const size_t mine = begun_++;
    lock.unlock();
    Slot made;
    const Clock::time_point start = Clock::now();
    try {
      made.input = prepare_(mine);
    } catch (...) {
      made.error = std::current_exception();
    }
    made.seconds = since(start);
    made.ready = true;
    lock.lock();
    slots_[mine % slots_.size()] = std::move(made);
    made_.notify_one();
  }
}

ModelInput PrepareAhead::next() {
  ensure(taken_ < count_, "prepare: no input is left");
  std::unique_lock lock(mutex_);
  Slot& slot = slots_[taken_ % slots_.size()];
  if (!slot.ready) {
    const Clock::time_point start = Clock::now();
    made_.wait(lock, [&] { return slot.ready; });
    waited_ += since(start);
  }
  Slot taken = std::exchange(slot, Slot{});
  ++taken_;
  lock.unlock();
  room_.notify_one();
  seconds_ += taken.seconds;
  if (taken.error) std::rethrow_exception(taken.error);
  return std::move(taken.input);
}

}  // namespace yopo
