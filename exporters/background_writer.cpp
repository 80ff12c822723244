#include "exporters/background_writer.h"

#include <algorithm>

namespace yopo {

BackgroundWriter::BackgroundWriter(Sink sink) : sink_(std::move(sink)) {
  for (std::vector<std::byte>& buffer : buffers_) buffer.reserve(capacity);
  thread_ = std::thread([this] { run(); });
}

BackgroundWriter::~BackgroundWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BackgroundWriter::append(const void* data, size_t size) {
  const auto* from = static_cast<const std::byte*>(data);
  while (size > 0) {
    std::vector<std::byte>& buffer = buffers_[filling_ % buffers_.size()];
    const size_t step = std::min(size, capacity - buffer.size());
    buffer.insert(buffer.end(), from, from + step);
    from += step;
    size -= step;
    if (buffer.size() == capacity) hand_over();
  }
}

void BackgroundWriter::finish() {
  if (!buffers_[filling_ % buffers_.size()].empty()) hand_over();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || written_ == filling_; });
  if (error_) std::rethrow_exception(error_);
}

/// The filled buffer goes to the thread; waits until the next one is free.
void BackgroundWriter::hand_over() {
  std::unique_lock lock(mutex_);
  ++filling_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return error_ || filling_ - written_ < buffers_.size(); });
  if (error_) std::rethrow_exception(error_);
}

void BackgroundWriter::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return ending_ || written_ < filling_; });
    if (ending_) return;
    std::vector<std::byte>& buffer = buffers_[written_ % buffers_.size()];
    lock.unlock();
    std::exception_ptr error;
    try {
      sink_(buffer.data(), buffer.size());
    } catch (...) {
      error = std::current_exception();
    }
    buffer.clear();
    lock.lock();
    if (error) {
      error_ = error;
      changed_.notify_all();
      return;
    }
    ++written_;
    changed_.notify_all();
  }
}

}  // namespace yopo
