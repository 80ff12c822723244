// What the files that hold plans have in common: the parts of a layer as JSON, read strictly.
#pragma once

#include "plans/plan.h"

namespace yopo {

constexpr int64_t most_plan_layers = 4096;

/// UserError naming the first member of `object` that is not known, with the nearest known one.
void check_known(const Json& object, const std::vector<std::string>& known, const std::string& where);

/// `{"size": n, "causal": b}` or null; read back from the member "window" of `parent` (absent or null: none).
Json window_to_json(const std::optional<Window>& window);
std::optional<Window> window_from_json(const Json& parent, const std::string& where);

/// An array of 0 and 1, integers or booleans. UserError naming `place` and the head.
HeadFlags flags_from_json(const Json& row, const std::string& place);
Json flags_to_json(const HeadFlags& flags);

/// null or an array of ascending indices.
std::optional<Neurons> neurons_from_json(const Json& row, const std::string& place);

}  // namespace yopo
