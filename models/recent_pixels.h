// The pixels of the images that were prepared last, for questions about one image come one after another.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "models/image_processor.h"

namespace yopo {

/// May be asked from several threads at once.
class RecentPixels {
 public:
  /// What `make` gives for this image, made now or kept from one of the last few. Two threads that ask for one image at
  /// the same moment both make it. Throws what `make` throws.
  std::shared_ptr<const Pixels> get(const std::string& image, const std::function<Pixels()>& make);

 private:
  struct Entry {
    std::string image;
    std::shared_ptr<const Pixels> pixels;
  };
  static constexpr size_t most = 4;
  std::mutex mutex_;
  std::deque<Entry> recent_;  // newest first
};

}  // namespace yopo
