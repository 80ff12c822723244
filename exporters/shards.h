// How an export's tensors are spread over files, as transformers names and indexes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/checkpoint.h"

namespace yopo {

struct OutputShard {
  std::string file;                // "model.safetensors" or "model-00001-of-00003.safetensors"
  std::vector<std::string> names;  // in file order
  uint64_t bytes = 0;              // of tensors
};

/// The name of file `index` (from 0) of `count`.
std::string shard_name(size_t index, size_t count);

/// The checkpoint's own tensors (not those of an added tower) in the source's order, a new file whenever `shard_size`
/// bytes would be passed (a larger tensor has a file of its own); with 0, files as in the source. Within a file wider
/// elements come first, which keeps every tensor aligned.
std::vector<OutputShard> plan_shards(const Checkpoint& checkpoint, uint64_t shard_size);

/// Text of model.safetensors.index.json: {"metadata": {"total_size": bytes}, "weight_map": {name: file}}, names sorted.
std::string index_text(const std::vector<OutputShard>& shards);

}  // namespace yopo
