// What requests of a batch have in common: questions about one image begin alike.
#pragma once

#include <cstdint>
#include <vector>

#include "models/input.h"

namespace yopo::runtime {

/// The first tokens of a request that an earlier request of the batch, its leader, computes for it.
struct SharedPrefix {
  int64_t leader = -1;  // index in the batch, itself without a leader; -1: none
  int64_t tokens = 0;
};

/// For each request of a batch. A prefix is shared when it is the same to the last bit (token ids and pixels, or ready
/// embeddings; positions; rotary frequencies, which may depend on a prompt's length) and holds every image of both
/// requests. What comes later never changes a prefix: attention is causal, and a window looks ahead only within its
/// image. At least one token is left to each request. Requests without images share nothing: text is not what costs.
std::vector<SharedPrefix> shared_prefixes(const ModelSpec& spec, const std::vector<ModelInput>& inputs);

}  // namespace yopo::runtime
