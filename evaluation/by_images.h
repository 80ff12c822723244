// The order in which questions are asked.
#pragma once

#include <vector>

#include "datasets/sample.h"

namespace yopo {

/// Questions about the same images next to each other, in the order of their first ones and within an image as they
/// came: a batch computes what they have in common once.
std::vector<const Sample*> by_images(const std::vector<const Sample*>& samples);

}  // namespace yopo
