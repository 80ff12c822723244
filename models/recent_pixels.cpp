#include "models/recent_pixels.h"

#include <utility>

namespace yopo {

std::shared_ptr<const Pixels> RecentPixels::get(const std::string& image, const std::function<Pixels()>& make) {
  {
    const std::lock_guard lock(mutex_);
    for (const Entry& entry : recent_)
      if (entry.image == image) return entry.pixels;
  }
  auto made = std::make_shared<const Pixels>(make());
  const std::lock_guard lock(mutex_);
  recent_.push_front({image, made});
  if (recent_.size() > most) recent_.pop_back();
  return made;
}

}  // namespace yopo
