// One sample, ready for either engine.
#pragma once

#include <cstdint>
#include <vector>

#include "core/safetensors.h"
#include "models/spec.h"

namespace yopo {

/// One image's visual tokens in the sequence: [start, start + rows * columns), row-major on its grid.
struct Span {
  int64_t start = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t count() const { return rows * columns; }
};

struct ModelInput {
  std::vector<int64_t> input_ids;      // [T], placeholders expanded to one per visual token; empty if `embeds` is given
  std::vector<int64_t> position_ids;   // [T]
  std::vector<Span> spans;             // ascending, disjoint
  std::vector<float> pixel_values;     // [images, 3, image_size, image_size], empty for text-only
  int64_t images = 0;
  std::vector<float> embeds;           // [T, hidden_size] instead of ids and pixels, or empty
  int64_t length() const { return int64_t(position_ids.size()); }
  int64_t visual_tokens() const;
  int64_t text_tokens() const { return length() - visual_tokens(); }
  /// The position of the first generated token.
  int64_t next_position() const;
};

/// Expands image placeholders (one per image, or already one per visual token), finds the spans, numbers the positions.
/// UserError naming `where` when placeholders and images do not match, or an id lies outside the vocabulary.
ModelInput make_input(const ModelSpec& spec, std::vector<int64_t> input_ids, std::vector<float> pixel_values,
                      int64_t images, const std::string& where);

/// Reads `input_ids`, `pixel_values`, `position_ids`, or `embeds` with `spans` and `position_ids`, from a safetensors file
/// (the layout of `yopo trace --inputs`). UserError for anything missing or misshapen.
ModelInput read_input(const ModelSpec& spec, const fs::path& path);

/// 1 for visual positions, [T].
std::vector<uint8_t> visual_mask(const ModelInput& input);

/// UserError unless spans are ascending, disjoint, non-empty and inside [0, length).
void check_spans(const std::vector<Span>& spans, int64_t length, const std::string& where);

}  // namespace yopo
