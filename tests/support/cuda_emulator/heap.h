// Heap blocks that are exactly as large as asked, so that AddressSanitizer sees the first byte past them.
#pragma once

#include <cstdlib>
#include <memory>

#include "core/error.h"

namespace shim {

struct FreeHeap {
  void operator()(void* data) const { std::free(data); }
};
using HeapBlock = std::unique_ptr<void, FreeHeap>;

/// `bytes` bytes at a multiple of `alignment`, not initialised.
inline HeapBlock allocate_heap(size_t bytes, size_t alignment) {
  void* data = nullptr;
  yopo::require(posix_memalign(&data, alignment, bytes) == 0, "no memory for {} bytes of the emulated device", bytes);
  return HeapBlock(data);
}

}  // namespace shim
