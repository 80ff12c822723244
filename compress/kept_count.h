// How many of something a recipe's `keep` stands for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "plans/options.h"

namespace yopo {

/// A fraction in [0, 1] is rounded to the nearest count of `whole`; a count must be whole and at most `whole`.
/// UserError naming `where`, `what` ("heads") and `there` ("that a layer has") otherwise.
int64_t kept_count(const Keep& keep, int64_t whole, std::string_view what, std::string_view there,
                   const std::string& where);

}  // namespace yopo
