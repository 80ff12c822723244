#include "compress/kept_count.h"

#include <cmath>

#include "core/error.h"

namespace yopo {

int64_t kept_count(const Keep& keep, int64_t whole, std::string_view what, std::string_view there,
                   const std::string& where) {
  if (keep.fraction) {
    require(keep.value >= 0 && keep.value <= 1, "{}: keep: expected a fraction in [0, 1], found {}", where, keep.value);
    return std::llround(keep.value * double(whole));
  }
  require(keep.value >= 0 && keep.value == std::floor(keep.value), "{}: keep: expected a count, found {}", where,
          keep.value);
  require(keep.value <= double(whole),
          "{}: keep: {:.0f} {} are above the {} {} (as a fraction, write it with a decimal point)", where, keep.value,
          what, whole, there);
  return int64_t(keep.value);
}

}  // namespace yopo
