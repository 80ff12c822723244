// Tables of Unicode facts; text/unicode.h is what the rest of the program uses.
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
/// A code point and its canonical decomposition in one step; `second` is 0 where that is one code point.
struct Decomposition {
  char32_t from, first, second;
};
struct Composition {
  char32_t first, second, to;
};
/// Code points of one canonical combining class.
struct CombiningRun {
  char32_t first, last;
  uint8_t value;
};

extern const std::span<const LowerRun> lower_runs;
extern const std::span<const Range> cased;
extern const std::span<const Range> case_ignorable;
extern const std::span<const Range> decimal_digits;
extern const std::span<const Range> word_characters;

// What tokenizers 0.22 takes for a letter, ...; decompositions without Hangul, whose rule is arithmetic.
extern const std::span<const Range> letters;
extern const std::span<const Range> marks;
extern const std::span<const Range> numbers;
extern const std::span<const Decomposition> decompositions;  // ascending by `from`
extern const std::span<const Composition> compositions;      // ascending by `first`, `second`
extern const std::span<const CombiningRun> combining_classes;

}  // namespace yopo::unicode
