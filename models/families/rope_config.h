// How a config.json says what rotary embedding its decoder has.
#pragma once

#include <string>

#include "models/spec.h"

namespace yopo {

/// Whether a family's decoder has positions along three axes; then the object must say mrope_section.
enum class RopeAxes { One, Three };

/// Fills text.rope from `rope_parameters` (transformers 5) or `rope_scaling`, with `rope_theta` inside of it or beside
/// it; text's sizes are read before, and hold its family's defaults. Types: default (mrope), linear, dynamic, yarn,
/// llama3, longrope (su). UserError naming `where` for another type, for values without sense, and where two keys
/// contradict one another.
void read_rope(const Json& config, const std::string& where, RopeAxes axes, DecoderSpec& text);

}  // namespace yopo
