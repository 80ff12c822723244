// How much memory there is, and what that means for a model.
#pragma once

#include <cstdint>

namespace yopo {

/// Bytes this process may use: the machine's memory, or its control group's limit where that is lower.
int64_t physical_memory();

/// The limit to keep to, in bytes: `asked` where that is not 0; else none (0) where `needed` leaves a fifth of the
/// memory free, and four fifths of the memory where it does not.
int64_t memory_limit(int64_t asked, int64_t needed);

}  // namespace yopo
