#include "runtime/cuda/context.h"

#include <algorithm>
#include <vector>

#include "core/error.h"
#include "runtime/cuda/ops.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

// What the kernels are compiled for (CMakeLists.txt): tensor-core products in bf16 began with compute capability 8.0.
constexpr int least_major = 8, least_minor = 0;

std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

struct Context {
  DeviceFacts facts;
  cudaStream_t stream = nullptr;
  // Blocks that were outgrown stay: recorded steps may still use them. Sizes double, so all together are less than
  // twice the last.
  std::vector<void*> scratch;
  size_t scratch_bytes = 0;

  Context() {
    std::string why;
    require(usable(&why), "device 'cuda': {}", why);
    check(cudaSetDevice(0), "choosing the GPU");
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0), "asking about the GPU");
    facts = {properties.name,
             properties.major,
             properties.minor,
             properties.multiProcessorCount,
             size_t(properties.sharedMemPerBlockOptin),
             size_t(properties.totalGlobalMem)};
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    // Freed memory stays with the process: an allocation in steady state is a lookup.
    cudaMemPool_t pool;
    check(cudaDeviceGetDefaultMemPool(&pool, 0), "asking for the memory pool");
    uint64_t keep = UINT64_MAX;
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "setting up the memory pool");
  }
};

Context& context() {
  static Context* const instance = new Context;  // outlives every static buffer; the driver takes it all back at exit
  return *instance;
}

}  // namespace

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // an error that is no longer pending is not reported twice
  const std::string text = fmt::format("{} ({})", cudaGetErrorString(status), cudaGetErrorName(status));
  switch (status) {
    case cudaErrorMemoryAllocation:
      fail("GPU, {}: out of memory: {}", what, text);
    case cudaErrorInsufficientDriver:
    case cudaErrorNoDevice:
    case cudaErrorInitializationError:
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorSystemDriverMismatch:
      fail("GPU, {}: {}", what, text);
    default:
      throw InternalError(fmt::format("GPU, {}: {}", what, text));
  }
}

const DeviceFacts& device() { return context().facts; }
cudaStream_t stream() { return context().stream; }

bool recording() {
  cudaStreamCaptureStatus status;
  check(cudaStreamIsCapturing(stream(), &status), "asking whether work is being recorded");
  return status != cudaStreamCaptureStatusNone;
}

void* scratch(size_t bytes) {
  Context& c = context();
  if (bytes > c.scratch_bytes) {
    ensure(!recording(), "scratch memory grows before a recording, not in it");
    const size_t size = std::max({bytes, 2 * c.scratch_bytes, size_t(1) << 20});
    void* block = nullptr;
    check(cudaMalloc(&block, size), "making room for scratch memory");
    c.scratch.push_back(block);
    c.scratch_bytes = size;
  }
  return c.scratch.back();
}

bool usable(std::string* why) {
  const auto no = [&](const std::string& reason) {
    cudaGetLastError();
    if (why) *why = reason;
    return false;
  };
  int driver = 0, runtime = 0, count = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
    return no("this machine has no NVIDIA driver (or none that this program can reach)");
  if (cudaRuntimeGetVersion(&runtime) == cudaSuccess && driver / 1000 < runtime / 1000)
    return no(fmt::format(
        "the NVIDIA driver is too old: this program needs one for CUDA {} or newer, this machine's is for CUDA {}",
        version_text(runtime / 1000 * 1000), version_text(driver)));
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
    return no("this machine has no GPU (CUDA_VISIBLE_DEVICES may hide it)");
  if (status != cudaSuccess) return no(fmt::format("the GPU cannot be used: {}", cudaGetErrorString(status)));
  cudaDeviceProp properties;
  if (const cudaError_t asked = cudaGetDeviceProperties(&properties, 0); asked != cudaSuccess)
    return no(fmt::format("the GPU cannot be used: {}", cudaGetErrorString(asked)));
  if (properties.major < least_major || (properties.major == least_major && properties.minor < least_minor))
    return no(fmt::format("the GPU is too old: compute capability {}.{} or newer is needed, {} has {}.{}", least_major,
                          least_minor, properties.name, properties.major, properties.minor));
  return true;
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
