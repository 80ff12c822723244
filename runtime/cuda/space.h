// The CUDA sources are compiled twice: by nvcc for GPUs, and by the host's compiler over shim/ for tests without a GPU.
// Each build has its own namespace, so that both can be in one program.
#pragma once

#if defined(YOPO_CUDA_SHIM)
#define YOPO_CUDA_SPACE cuda_shim
#else
#define YOPO_CUDA_SPACE cuda
#endif
