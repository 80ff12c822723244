// Rotary position embedding, half-split layout (Su et al., arXiv 2104.09864; LLaMA's rotate_half), with the scalings
// that checkpoints ask for: linear (Chen et al., arXiv 2306.15595), dynamic NTK, YaRN (Peng et al., arXiv 2309.00071),
// LLaMA 3's, LongRoPE (Phi-3; Ding et al., arXiv 2402.13753) and M-RoPE (Qwen2-VL; arXiv 2409.12191).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/spec.h"

namespace yopo {

/// cos and sin of position x frequency for the first half of head_dim; the second half repeats it.
/// Rotation of x = [a | b]: [a cos - b sin | b cos + a sin].
struct RopeTable {
  int64_t half = 0;        // head_dim / 2
  std::vector<float> cos;  // [T, half]
  std::vector<float> sin;  // [T, half]
};
/// `positions` [axes, T] of one request's new tokens, axes 1 (the same along time, row and column) or 3; `kv_length`:
/// tokens of the request so far, these included. Scalings look at the request as it is now; keys cached before keep the
/// rotation they were written with. Angles are computed in fp32 as the reference implementations do.
RopeTable rope_table(const DecoderSpec& spec, std::span<const int64_t> positions, int64_t axes, int64_t kv_length);

/// Whether a position turns by the same angles in two requests of `a_length` and `b_length` tokens at these positions:
/// scalings choose frequencies by a request's length or its largest position.
bool same_rotation(const DecoderSpec& spec, std::span<const int64_t> a_positions, int64_t a_length,
                   std::span<const int64_t> b_positions, int64_t b_length);

/// The vision tower's rotary embedding by row and column: `places` [T, 2] = row and column of each patch. The first
/// half of the head_dim / 2 frequencies turns with the row, the other with the column; theta 10,000.
RopeTable rope_table_2d(int64_t head_dim, std::span<const int32_t> places);

}  // namespace yopo
