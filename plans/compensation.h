// The vectors of a plan's compensation as a file of their own: beside plan.json, or beside a checkpoint's weights,
// where other loaders do not look for them.
#pragma once

#include <string>

#include "plans/budgets.h"

namespace yopo {

/// What is written for one layer, in plan.json as in config.json: {"rank": 16}; absent without compensation.
void layer_compensation_to_json(const LayerPlan& layer, Json& json);
/// Marks the layer as one with compensation of that rank; its vectors come by read_compensation.
void layer_compensation_from_json(const Json& json, const std::string& place, LayerPlan& layer);

/// {"file": name, "digest": ...} of a plan with compensation.
Json compensation_to_json(const Plan& plan, const std::string& file);
/// The vectors of the marked layers from the file that `json` (or nothing) names, in `folder`. UserError naming `where`
/// or the file: layers without a file, or a file without layers; a name that leaves the folder; tensors that lack, are
/// too many or of another shape or type, NaN or Inf; vectors that are not those the plan was written with (digest).
void read_compensation(const Json& parent, const std::string& where, const fs::path& folder, Plan& plan);
/// The same for plans that share one file, of a model `hidden` wide: the names and shapes of all are checked, the
/// values of that of `budget` alone are read. `parents` [plans]: the objects that the plans are read from.
void read_compensation(const std::vector<const Json*>& parents, const std::string& where, const fs::path& folder,
                       int64_t hidden, std::vector<BudgetPlan>& plans, const std::string& budget);
/// Tensors layers.L.down [rank, C], layers.L.up [C, rank], layers.L.bias [C], fp32.
void write_compensation(const fs::path& path, const Plan& plan);
/// The same of several plans, as budgets.B.layers.L.down and so on.
void write_compensation(const fs::path& path, const std::vector<BudgetPlan>& plans);

}  // namespace yopo
