// The order in which a layer gives up heads and neurons.
#pragma once

#include <functional>
#include <vector>

#include "calibration/statistics.h"
#include "models/spec.h"
#include "plans/order.h"
#include "search/menu.h"

namespace yopo {

/// Scores [L][H]: of two heads (or neurons) the one with the lower score is given up first.
using HeadScores = std::vector<std::vector<double>>;

/// KV groups by the sum of their heads' scores to be read, heads within a group by their own; ties to the lower index.
/// `updates` and `neurons` [L][F] by their scores alone.
Ranking rank(const DecoderSpec& spec, const HeadScores& reads, const HeadScores& updates, const HeadScores& neurons);
/// The statistics' score `wanda` [L][F].
HeadScores wanda_scores(const Statistics& statistics);

/// Mean attention ratios: what calibration knows of heads.
HeadScores ratio_scores(const Statistics& statistics);

/// The orders in which the ranking's prefixes are prefixes of the weights.
std::vector<LayerOrder> orders_of(const Ranking& ranking, const DecoderSpec& spec);

}  // namespace yopo
