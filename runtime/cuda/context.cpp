#include "runtime/cuda/context.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string_view>
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

  explicit Context(int64_t gpu) {
    std::string why;
    require(usable(&why, gpu), "device 'cuda:{}': {}", gpu, why);
    const int index = int(gpu);
    check(cudaSetDevice(index), "choosing the GPU");
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, index), "asking about the GPU");
    facts = {properties.name,
             properties.major,
             properties.minor,
             properties.multiProcessorCount,
             size_t(properties.sharedMemPerBlockOptin),
             size_t(properties.totalGlobalMem),
             index};
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
    // Freed memory stays with the process: an allocation in steady state is a lookup.
    cudaMemPool_t pool;
    check(cudaDeviceGetDefaultMemPool(&pool, index), "asking for the memory pool");
    uint64_t keep = UINT64_MAX;
    check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep), "setting up the memory pool");
  }
};

/// `gpu` matters to the first call alone.
Context& context(int64_t gpu = 0) {
  // Outlives every static buffer; the driver takes it all back at exit.
  static Context* const instance = new Context(gpu);
  // To CUDA the device in use is a thread's own.
  thread_local bool chosen = false;
  if (!chosen) check(cudaSetDevice(instance->facts.index), "choosing the GPU");
  chosen = true;
  return *instance;
}

bool asked_for(const char* variable) {
  const char* const value = std::getenv(variable);
  return value && std::string_view(value) == "1";
}

std::atomic<bool>& launch_checks() {
  static std::atomic<bool> on = asked_for("YOPO_CUDA_CHECK");
  return on;
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

void open_gpu(int64_t gpu) {
  const int index = context(gpu).facts.index;
  require(index == gpu, "device 'cuda:{}': a process works on one GPU, and this one on cuda:{}; start another for it",
          gpu, index);
}

const DeviceFacts& device() { return context().facts; }
cudaStream_t stream() { return context().stream; }

bool checks_launches() { return launch_checks(); }
void set_checks_launches(bool on) { launch_checks() = on; }

void wait_for_launch(const std::string& what, const std::source_location& where) {
  if (recording()) return;
  const cudaError_t status = cudaStreamSynchronize(stream());
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw InternalError(fmt::format("GPU, {} failed, launched by {} ({}:{}): {} ({})", what, where.function_name(),
                                  where.file_name(), where.line(), cudaGetErrorString(status),
                                  cudaGetErrorName(status)));
}

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

bool usable(std::string* why, int64_t gpu) {
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
  if (gpu < 0 || gpu >= count)
    return no(count == 1 ? "this machine has one GPU, cuda:0"
                         : fmt::format("this machine has {} GPUs, cuda:0 to cuda:{}", count, count - 1));
  cudaDeviceProp properties;
  if (const cudaError_t asked = cudaGetDeviceProperties(&properties, int(gpu)); asked != cudaSuccess)
    return no(fmt::format("the GPU cannot be used: {}", cudaGetErrorString(asked)));
  if (properties.major < least_major || (properties.major == least_major && properties.minor < least_minor))
    return no(fmt::format("the GPU is too old: compute capability {}.{} or newer is needed, {} has {}.{}", least_major,
                          least_minor, properties.name, properties.major, properties.minor));
  return true;
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
