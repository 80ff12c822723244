// Kernels in the compiler's default instruction set: SSE2 on x86-64, NEON on aarch64. Also chooses the set to run.
#include "runtime/cpu/kernels.h"

#define YOPO_KERNELS kernels_base
#define YOPO_NAME "base"
#define YOPO_WIDTH 4
#define YOPO_ROWS 4
#define YOPO_VECTORS 2
#include "runtime/cpu/kernels.inl"

namespace yopo::runtime::cpu {

KernelList all_kernels() {
  KernelList list{{&kernels_base, nullptr, nullptr}, 1};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) list.sets[list.count++] = &kernels_avx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma"))
    list.sets[list.count++] = &kernels_avx512;
#endif
  return list;
}

const Kernels& kernels() {
  static const KernelList list = all_kernels();
  return *list.sets[list.count - 1];
}

}  // namespace yopo::runtime::cpu
