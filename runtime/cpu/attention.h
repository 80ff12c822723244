// Attention on the CPU over the pairs that a plan keeps; see runtime/ops.h for the arguments. Each returns the (query, key)
// pairs that it attended, summed over heads.
#pragma once

#include "runtime/ops.h"

namespace yopo::runtime::cpu {

int64_t prefill_attention(const PrefillAttention& attention);
int64_t decode_attention(const DecodeAttention& attention);
int64_t full_attention(const FullAttention& attention);

}  // namespace yopo::runtime::cpu
