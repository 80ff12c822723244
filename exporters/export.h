// The pruned checkpoint: every layer permuted so that what visual tokens use comes first, still a plain dense checkpoint.
#pragma once

#include "compress/plan.h"
#include "models/spec.h"

namespace yopo {

struct ExportOptions {
  uint64_t shard_size = 5'000'000'000;   // bytes of tensors in one shard
};
/// Writes `output` (a new folder): shards and index, config.json with the "yopo" object, tokenizer, processor and generation
/// files copied, and (original layout) nothing of the separate tower but the config's reference made relative. Streams one
/// tensor at a time; the folder appears complete or not at all (written beside, renamed). UserError if `output` exists and
/// holds anything else than an export of the same inputs, for NaN in weights, for a plan that does not fit or is not `skip`,
/// for a full disk.
void export_checkpoint(const OpenModel& model, const Plan& plan, const fs::path& output, const ExportOptions& options);

}  // namespace yopo
