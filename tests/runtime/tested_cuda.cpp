#include <cuda_runtime.h>

#include "runtime/cuda/ops.h"
#include "tests/runtime/tested_device.h"

#if defined(YOPO_CUDA_SHIM)
#include "tests/support/cuda_emulator/machine.h"
#endif

namespace yopo::testing {

const runtime::Ops& tested_ops() { return runtime::YOPO_CUDA_SPACE::cuda_ops(); }
runtime::Options on_device(const std::string& dtype) { return {.dtype = dtype, .ops = &tested_ops()}; }
int64_t odd_head_dim() { return 24; }
bool emulated() {
#if defined(YOPO_CUDA_SHIM)
  return true;
#else
  return false;
#endif
}
int64_t bytes_in_use() {
  cudaDeviceSynchronize();
#if defined(YOPO_CUDA_SHIM)
  return int64_t(shim::live_bytes());
#else
  cudaMemPool_t pool;
  uint64_t used = 0;
  if (cudaDeviceGetDefaultMemPool(&pool, 0) != cudaSuccess ||
      cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used) != cudaSuccess)
    return -1;
  return int64_t(used);
#endif
}

}  // namespace yopo::testing
