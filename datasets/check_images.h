// Whether samples' images can be read, before hours of work depend on it.
#pragma once

#include "datasets/sample.h"

namespace yopo {

struct ImageCheck {
  size_t there = 0, read = 0;  // different images, and those that were looked at
  size_t damaged = 0;
  std::string first;  // what the reader says of the first of them
};
/// Reads at most `most` of the samples' images, taken evenly from all of them. Shows progress.
ImageCheck check_images(const std::vector<Sample>& samples, size_t most);

}  // namespace yopo
