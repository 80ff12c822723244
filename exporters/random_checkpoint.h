// A checkpoint of real size without real weights: what a model costs in time, memory and disk can be measured without
// it.
#pragma once

#include <optional>

#include "core/dtype.h"
#include "core/json.h"

namespace yopo {

struct RandomOptions {
  uint64_t seed = 0;
  std::optional<DType> dtype;           // F32, F16 or BF16; absent: as config.json says, else BF16
  uint64_t shard_size = 5'000'000'000;  // bytes of tensors in one file; 0: one file
  int64_t layers = 0;                   // decoder layers, the first of the config's; 0: all
  int threads = 0;                      // that generate; 0: all of the machine
};

struct RandomCheckpoint {
  int64_t parameters = 0;
  uint64_t bytes = 0;  // of tensors
  size_t files = 0;    // of tensors
};

/// Writes `output` (a new or empty folder): config.json as given, with the number of layers and the type that were
/// chosen, and every tensor that the two forwards read from such a checkpoint, sharded and indexed as transformers
/// does. Matrices and embeddings are normal with deviation 0.02, biases with 0.002, norms 1, layer scales 0.1; each
/// number depends on seed, tensor name and place in the tensor only, so the bytes are the same for any number of
/// threads and any shard size, and a cut model is the beginning of the whole one. Streams through two buffers of 16
/// MiB. The folder appears complete or not at all (written beside as `output`.partial-PID, renamed). `config` is the
/// file or a folder that holds it. UserError for a config that is no model of ours, more layers than it has, an export
/// or quantised checkpoint's config, an output that is not empty, and a disk with too little room (before anything is
/// written).
RandomCheckpoint write_random_checkpoint(const fs::path& config, const fs::path& output, const RandomOptions& options);

}  // namespace yopo
