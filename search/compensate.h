// Closed-form compensation of a plan, fitted layer by layer on the rows that the compensated layers below it give.
#pragma once

#include <vector>

#include "plans/plan.h"
#include "runtime/engine.h"

namespace yopo {

/// Root mean square of what visual rows lack behind a layer, as a share of the dense rows', without and with its map.
struct FitError {
  bool fitted = false;
  double without = 0, with = 0;
};

class Compensator {
 public:
  /// Runs the dense `engine` over the pictures' visual rows (inputs with embeddings, up to their last picture) and
  /// keeps what each layer gives, of at most `most_rows` of them.
  Compensator(const runtime::Engine& engine, std::vector<ModelInput> pictures, double ridge, int64_t most_rows);

  /// The plan of `engine`, whose layers may have compensation of the ranks wanted, with vectors fitted in order: the
  /// target is the dense stream behind the layer less the pruned one, the input the row that the pruned FFN reads.
  Plan fit(const runtime::Engine& engine, const Plan& plan) const { return fit(engine, plan, nullptr, 0, nullptr); }
  /// The same; `errors` [L] gets what each layer's map leaves.
  Plan fit(const runtime::Engine& engine, const Plan& plan, std::vector<FitError>& errors) const {
    return fit(engine, plan, nullptr, 0, nullptr, &errors);
  }
  /// The same, gone on with from layer `first` where `between` are the rows of a plan with the same layers before it,
  /// whose vectors `plan` has there already. `keep`: gets the rows.
  Plan fit(const runtime::Engine& engine, const Plan& plan, const RowsBetween* between, int64_t first,
           RowsBetween* keep, std::vector<FitError>* errors = nullptr) const;
  int64_t rows() const { return int64_t(kept_.size()); }

 private:
  std::vector<ModelInput> pictures_;
  double ridge_;
  int64_t hidden_ = 0;
  std::vector<int64_t> kept_;              // of the batch's visual rows
  std::vector<std::vector<float>> dense_;  // [L] of [kept, hidden]
};

}  // namespace yopo
