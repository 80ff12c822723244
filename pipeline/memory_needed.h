// How much memory the stages of a recipe take, from the architecture alone.
#pragma once

#include "models/spec.h"
#include "pipeline/recipe.h"
#include "pipeline/stages.h"

namespace yopo {

struct MemoryNeeded {
  int64_t calibrate = 0, verify = 0;  // bytes, about: the largest resident set, mapped weights included
  int64_t limit = 0;                  // bytes that were taken for the machine's or --memory's
  bool calibrate_streams = false, verify_streams = false;  // layers come and go
};

/// For prompts of `length` tokens. A checkpoint's weights count once where they are computed with as they are stored
/// (they are mapped), and once more for each engine that converts them; beyond the limit layers are streamed.
MemoryNeeded memory_needed(const Recipe& recipe, const ModelSpec& spec, const RunSettings& settings, int64_t length);

}  // namespace yopo
