// The pixels of the images that were prepared last, for questions about one image come one after another.
#pragma once

#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>

#include "images/processor.h"

namespace yopo {

/// May be asked from several threads at once: one makes an image, the others wait for it.
class RecentPixels {
 public:
  /// What `make` gives for this image, made now or kept from one of the last few, as long as these are small together.
  /// Throws what `make` throws; a failure is not kept.
  std::shared_ptr<const Pixels> get(const std::string& image, const std::function<Pixels()>& make);

 private:
  using Future = std::shared_future<std::shared_ptr<const Pixels>>;
  struct Entry {
    std::string image;
    Future pixels;
    size_t bytes = 0;  // once they are made
  };
  void made(const std::string& image, size_t bytes);
  void forget(const std::string& image);

  static constexpr size_t most = 4, most_bytes = size_t(64) << 20;
  std::mutex mutex_;
  std::deque<Entry> recent_;  // newest first
};

}  // namespace yopo
