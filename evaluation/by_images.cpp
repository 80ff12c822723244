#include "evaluation/by_images.h"

#include <unordered_map>

namespace yopo {

std::vector<const Sample*> by_images(const std::vector<const Sample*>& samples) {
  std::unordered_map<std::string, size_t> place_of;
  std::vector<std::vector<const Sample*>> groups;
  for (const Sample* sample : samples) {
    std::string images;
    for (const fs::path& path : sample->images) images += path.string() + '\0';
    for (const EncodedImage& image : sample->encoded) images += '\0' + Fingerprint().add(image.text()).hex();
    const auto [place, fresh] = place_of.emplace(images, groups.size());
    if (fresh) groups.emplace_back();
    groups[place->second].push_back(sample);
  }
  std::vector<const Sample*> ordered;
  for (const auto& group : groups) ordered.insert(ordered.end(), group.begin(), group.end());
  return ordered;
}

}  // namespace yopo
