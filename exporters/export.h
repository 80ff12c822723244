// The pruned checkpoint: every layer permuted so that what visual tokens use comes first, still a plain dense
// checkpoint.
#pragma once

#include "exporters/companions.h"
#include "models/spec.h"
#include "plans/budgets.h"

namespace yopo {

struct ExportOptions {
  uint64_t shard_size = 5'000'000'000;  // bytes of tensors in one shard; 0: the source's own shards
  bool transformers_code = false;       // beside the weights (exporters/transformers_code.h)
};
/// UserError, before anything is calibrated, for what export would refuse: a source that is an export itself (its
/// config.json holds a plan) and a plan that is not `skip`.
void check_exportable(const Json& config, const std::string& where, Semantics semantics);

/// Writes `output` (a new folder): safetensors shards filled in the source's tensor order (index file if there are
/// several), config.json with the source's keys and the "yopo" object behind them, and every other file that is not
/// weights as it is (exporters/companions.h; what was not copied is noted, and returned). A separate vision tower
/// (original layout) is copied to `output`/vision_tower and config.json refers to that, so that the folder is complete
/// in itself. Streams one tensor at a time; the folder appears complete or not at all (written beside as
/// `output`.partial-PID, renamed). The same inputs give the same bytes. If `output` already is an export of the same
/// inputs, nothing is done or returned. `transformers_code` adds files and config.json's "auto_map". UserError if
/// `output` holds anything else, for a source that is an export itself, for NaN or Inf in weights, for a plan that does
/// not fit or is not `skip`, for a full disk.
Companions export_checkpoint(const OpenModel& model, const Plan& plan, const fs::path& output,
                             const ExportOptions& options);
/// The same for several plans, which share the order of every layer; `fallback` is the budget that runs where none is
/// asked for. UserError also for plans that no common order serves (common_orders).
Companions export_elastic(const OpenModel& model, std::vector<BudgetPlan> plans, const std::string& fallback,
                          const fs::path& output, const ExportOptions& options);

}  // namespace yopo
