// Which visual tokens of a question are dropped where a model is compared with token dropping.
#pragma once

#include <string>
#include <vector>

#include "models/input.h"
#include "runtime/engine.h"

namespace yopo {

struct Dropping {
  enum class By {
    Random,     // by the seed and the question's key
    Grid,       // evenly spaced in reading order
    Attention,  // what the last text row reads most in the layer before (FastV, arXiv 2403.06764)
    Class       // what the vision tower's class row reads most (FasterVLM, arXiv 2412.01818; VisionZip, 2412.04467)
  } by = By::Grid;
  double share = 1;  // of a sample's visual tokens; rounded down to whole ones
  int64_t from_layer = 0;
  uint64_t seed = 0;
  /// For fingerprints.
  std::string text() const;
};

/// How many of `visual` tokens stay.
int64_t kept_count(const Dropping& dropping, int64_t visual);
/// Gives each input its kept rows. `keys`: what tells its question from others.
void drop_tokens(const runtime::Engine& engine, const Dropping& dropping, const std::vector<std::string>& keys,
                 std::vector<ModelInput>& inputs);

}  // namespace yopo
