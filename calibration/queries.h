// Whose attention rows calibration looks at, and what a calibration is asked for.
#pragma once

#include <string>
#include <string_view>

#include "datasets/sample.h"

namespace yopo {

enum class Queries { Prefill, Text, Decode };  // whose attention rows the ratio sums
/// UserError naming `where` and the nearest known name.
Queries parse_queries(std::string_view text, const std::string& where);
std::string_view name_of(Queries queries);

struct CalibrationOptions {
  DatasetOptions dataset;
  Queries queries = Queries::Prefill;
};

}  // namespace yopo
