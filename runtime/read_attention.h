// How much of the attention of one row each visual token gets, worked out on the host. Private to runtime/.
#pragma once

#include <vector>

#include "runtime/state.h"

namespace yopo::runtime {

/// Engine::last_row_attention.
std::vector<std::vector<float>> read_last_rows(const EngineState& state, const std::vector<ModelInput>& inputs,
                                               int64_t layer);
/// Of a query row [heads * head_dim] on the host over all visual and text keys: the visual ones' mean weights.
std::vector<float> row_attention(const EngineState& state, const std::vector<float>& query, const KvSegment& visual,
                                 const KvSegment& text);
/// Of a picture's class row in the tower: `q` its query, `k` the keys of it and of the patches behind it, rows of
/// hidden_size, on the device. [visual tokens of the picture]
std::vector<float> class_row_attention(const EngineState& state, const void* q, const void* k, int64_t patches);

}  // namespace yopo::runtime
