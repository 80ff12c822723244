// A sink behind a thread of its own: what is written leaves while what comes next is read and permuted.
#pragma once

#include <array>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "exporters/permute.h"

namespace yopo {

/// Made, fed and destroyed by one thread.
class BackgroundWriter {
 public:
  /// `sink` is called from the thread alone, with the bytes in their order.
  explicit BackgroundWriter(Sink sink);
  /// Ends the thread; bytes that are still waiting may be lost.
  ~BackgroundWriter();
  BackgroundWriter(const BackgroundWriter&) = delete;
  BackgroundWriter& operator=(const BackgroundWriter&) = delete;

  /// Copies the bytes and waits only when the thread is behind. Throws on what the sink threw.
  void append(const void* data, size_t size);
  /// Waits until everything has gone through the sink. Throws on what it threw.
  void finish();

 private:
  void run();
  void hand_over();

  static constexpr size_t capacity = size_t(4) << 20;  // of a buffer
  Sink sink_;
  std::array<std::vector<std::byte>, 3> buffers_;
  size_t filling_ = 0;  // handed over so far; the buffer that is being filled is this one's remainder
  size_t written_ = 0;  // gone through the sink so far
  bool ending_ = false;
  std::exception_ptr error_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
};

}  // namespace yopo
