// Attention on the CPU over the pairs that a plan keeps; see runtime/ops.h for the arguments.
#pragma once

#include "runtime/ops.h"

namespace yopo::runtime::cpu {

void prefill_attention(const PrefillAttention& attention);
void decode_attention(const DecodeAttention& attention);
void full_attention(const FullAttention& attention);

}  // namespace yopo::runtime::cpu
