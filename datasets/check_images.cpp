#include "datasets/check_images.h"

#include <algorithm>
#include <set>

#include "core/progress.h"

namespace yopo {

ImageCheck check_images(const std::vector<Sample>& samples, size_t most) {
  struct Picture {
    const Sample* sample;
    const fs::path* file;         // either
    const EncodedImage* encoded;  // or
  };
  std::vector<Picture> pictures;
  std::set<fs::path> seen;
  for (const Sample& sample : samples) {
    for (const fs::path& image : sample.images)
      if (seen.insert(image).second) pictures.push_back({&sample, &image, nullptr});
    for (const EncodedImage& image : sample.encoded) pictures.push_back({&sample, nullptr, &image});
  }
  ImageCheck check;
  check.there = pictures.size();
  check.read = std::min(pictures.size(), most);
  Progress progress("reading images", int64_t(check.read), "images");
  for (size_t i = 0; i < check.read; ++i) {
    const Picture& picture = pictures[i * check.there / check.read];
    try {
      if (picture.file)
        (void)read_image(*picture.file, picture.sample->where);
      else
        (void)read_image(*picture.encoded, picture.sample->where);
    } catch (const UserError& error) {
      if (check.damaged++ == 0) check.first = error.what();
    }
    progress.tick();
  }
  return check;
}

}  // namespace yopo
