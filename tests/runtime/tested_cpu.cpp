#include <malloc.h>

#include "tests/runtime/tested_device.h"

namespace yopo::testing {

const runtime::Ops& tested_ops() { return runtime::cpu_ops(); }
runtime::Options on_device(const std::string& dtype) { return {.dtype = dtype}; }
int64_t odd_head_dim() { return 10; }
bool emulated() { return false; }
int64_t bytes_in_use() {
  const struct mallinfo2 info = mallinfo2();
  return int64_t(info.uordblks + info.hblkhd);
}

}  // namespace yopo::testing
