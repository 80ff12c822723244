// Tables of Unicode facts; datasets/unicode.h is what the rest of the program uses.
#pragma once

#include <cstdint>
#include <span>

namespace yopo::unicode {

/// Code points first to last, both included; a table is ascending and disjoint.
struct Range {
  char32_t first, last;
};
/// Code points first, first + step, ..., last; each becomes itself plus delta.
struct LowerRun {
  char32_t first, last;
  int32_t step, delta;
};

extern const std::span<const LowerRun> lower_runs;
extern const std::span<const Range> cased;
extern const std::span<const Range> case_ignorable;
extern const std::span<const Range> decimal_digits;
extern const std::span<const Range> word_characters;

}  // namespace yopo::unicode
