// Which checkpoint a plan's heads and neurons were chosen on: their numbers mean something there alone.
#pragma once

#include <string>
#include <string_view>

#include "formats/checkpoint.h"
#include "plans/plan.h"

namespace yopo {

/// The part of the fingerprint of statistics, "checkpoint X; dataset Y; options Z", that begins with `name`; "" if
/// there is none.
std::string identity_part(std::string_view identity, std::string_view name);

/// The fingerprint of the checkpoint whose statistics chose the plan's heads and neurons; "" where the plan does not
/// say.
std::string checkpoint_of(const Plan& plan);

/// UserError naming `where` for a plan whose heads and neurons were chosen on another checkpoint, and where export has
/// reordered this one, for one that does not say that they were chosen here. A plan that takes all or none of a layer's
/// heads and neurons fits any order.
void check_made_for(const Plan& plan, const Checkpoint& checkpoint, const DecoderSpec& spec, const std::string& where);

}  // namespace yopo
