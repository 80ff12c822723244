#include <malloc.h>

#include <cstddef>

#include "tests/runtime/tested_device.h"

// A sanitizer brings its own heap, which the C library's figures do not cover; the name is the sanitizer's.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" size_t __sanitizer_get_current_allocated_bytes() __attribute__((weak));

namespace yopo::testing {

const runtime::Ops& tested_ops() { return runtime::cpu_ops(); }
runtime::Options on_device(const std::string& dtype) { return {.dtype = dtype}; }
int64_t odd_head_dim() { return 10; }
bool emulated() { return false; }
int64_t bytes_in_use() {
  if (__sanitizer_get_current_allocated_bytes) return int64_t(__sanitizer_get_current_allocated_bytes());
  const struct mallinfo2 info = mallinfo2();
  return int64_t(info.uordblks + info.hblkhd);
}

}  // namespace yopo::testing
