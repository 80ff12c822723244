// Masked attention in Torch, streamed over blocks of query rows: memory grows with tokens, not with their square.
#pragma once

#include "reference/decoder.h"

namespace yopo {

/// `q` [B, H, T, D] (new rows), `k`, `v` [B, KV, past + T, D] -> [B, T, H * D]. `visual` bool [B, past + T] marks
/// visual tokens. Observers see every block in order of rows. Differentiable.
at::Tensor attend(int64_t layer, const LayerRule& rule, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& visual, const Pass& pass);

}  // namespace yopo
