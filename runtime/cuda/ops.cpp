#include "runtime/cuda/ops.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>

#include "core/error.h"
#include "runtime/cuda/context.h"
#include "runtime/cuda/gemm.h"
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/ranges.h"

namespace yopo::runtime::YOPO_CUDA_SPACE {
namespace {

std::string gib(size_t bytes) { return fmt::format("{:.2f} GiB", double(bytes) / double(size_t(1) << 30)); }

void* allocate(size_t bytes) {
  void* data = nullptr;
  const cudaError_t status = cudaMallocAsync(&data, bytes, stream());
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free_bytes = 0, total = 0;
    check(cudaMemGetInfo(&free_bytes, &total), "asking for free memory");
    fail(
        "GPU out of memory: {} more are needed, {} of {} are free on {}; a smaller batch, --memory or a stronger plan "
        "need less",
        gib(bytes), gib(free_bytes), gib(total), device().name);
  }
  check(status, "allocating memory");
  return data;
}

void release(void* data, size_t) {
  // Runs in destructors: after a failed kernel every call fails, and the failure itself is on its way already.
  if (cudaFreeAsync(data, stream()) != cudaSuccess) cudaGetLastError();
}

/// Pinned memory through which host data goes to the GPU: the copy out of the caller's memory is done when upload
/// returns, the one to the GPU runs behind it.
class Staging {
 public:
  void upload(void* to, const void* from, size_t bytes) {
    auto* target = static_cast<unsigned char*>(to);
    auto* source = static_cast<const unsigned char*>(from);
    while (bytes > 0) {
      Slot& slot = slots_[current_];
      if (!slot.data) make(slot);
      if (used_ == 0)
        check(cudaEventSynchronize(slot.sent), "waiting for an upload");  // its last use may still be under way
      const size_t here = std::min(bytes, slot_bytes - used_);
      std::memcpy(slot.data + used_, source, here);
      check(cudaMemcpyAsync(target, slot.data + used_, here, cudaMemcpyHostToDevice, stream()), "an upload");
      used_ += (here + 255) / 256 * 256;
      target += here, source += here, bytes -= here;
      if (used_ >= slot_bytes) {
        check(cudaEventRecord(slot.sent, stream()), "an upload");
        current_ = (current_ + 1) % slot_count;
        used_ = 0;
      }
    }
  }

 private:
  static constexpr size_t slot_bytes = size_t(16) << 20, slot_count = 4;
  struct Slot {
    unsigned char* data = nullptr;
    cudaEvent_t sent = nullptr;
  };
  static void make(Slot& slot) {
    check(cudaEventCreateWithFlags(&slot.sent, cudaEventDisableTiming), "making an event");
    void* data = nullptr;
    check(cudaMallocHost(&data, slot_bytes), "allocating pinned memory");
    slot.data = static_cast<unsigned char*>(data);
  }
  Slot slots_[slot_count];
  size_t current_ = 0, used_ = 0;
};

void upload(void* to, const void* from, size_t bytes) {
  static Staging* const staging = new Staging;  // as the context: taken back at exit by the driver
  if (bytes > 0) staging->upload(to, from, bytes);
}

void synchronize() { check(cudaStreamSynchronize(stream()), "waiting for the GPU"); }

void download(void* to, const void* from, size_t bytes) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()), "a download");
  synchronize();
}

bool supports(DType type, std::string* why) {
  if (type == DType::F32 || type == DType::BF16 || type == DType::F16) return true;
  if (why) *why = "the GPU computes in fp32, bf16 or fp16";
  return false;
}

/// An event that can be timed.
class Moment {
 public:
  Moment() { check(cudaEventCreate(&event_), "making an event"); }
  ~Moment() {
    if (cudaEventDestroy(event_) != cudaSuccess) cudaGetLastError();
  }
  Moment(const Moment&) = delete;
  Moment& operator=(const Moment&) = delete;
  void now() const { check(cudaEventRecord(event_, stream()), "recording an event"); }
  double until(const Moment& later) const {
    check(cudaEventSynchronize(later.event_), "waiting for the GPU");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, event_, later.event_), "reading the GPU's clock");
    return 1e-3 * double(milliseconds);
  }

 private:
  cudaEvent_t event_ = nullptr;
};

double seconds_of(const std::function<void()>& work) {
  stream();  // events belong to the thread's device
  const Moment before, after;
  before.now();
  work();
  after.now();
  return before.until(after);
}

void copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "a copy");
}

/// What the driver has, and what lies unused in the pool.
size_t free_bytes() {
  synchronize();
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  cudaMemPool_t pool;
  check(cudaDeviceGetDefaultMemPool(&pool, device().index), "asking for the memory pool");
  uint64_t reserved = 0, used = 0;
  check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved), "asking the memory pool");
  check(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrUsedMemCurrent, &used), "asking the memory pool");
  return free + size_t(reserved - std::min(used, reserved));
}

/// What a Recording is here.
struct Graph {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t runnable = nullptr;
  ~Graph() {
    if (runnable) cudaGraphExecDestroy(runnable);
    if (graph) cudaGraphDestroy(graph);
  }
};

Recording* record(const std::function<void()>& issue) {
  auto made = std::make_unique<Graph>();
  check(cudaStreamBeginCapture(stream(), cudaStreamCaptureModeThreadLocal), "recording a step");
  std::exception_ptr error;
  try {
    issue();
  } catch (...) {
    error = std::current_exception();
  }
  const cudaError_t status =
      cudaStreamEndCapture(stream(), &made->graph);  // ends the capture whatever went wrong in it
  if (error) {
    cudaGetLastError();
    std::rethrow_exception(error);
  }
  check(status, "recording a step");
  check(cudaGraphInstantiate(&made->runnable, made->graph, 0), "preparing a recorded step");
  return reinterpret_cast<Recording*>(made.release());
}

void replay(Recording* recording) {
  check(cudaGraphLaunch(reinterpret_cast<Graph*>(recording)->runnable, stream()), "running a recorded step");
}

void forget(Recording* recording) { delete reinterpret_cast<Graph*>(recording); }

}  // namespace

const Ops& cuda_ops(int64_t gpu) {
  open_gpu(gpu);
  static const Ops ops{
      .name = "cuda",
      .host_memory = false,
      .supports = supports,
      .allocate = allocate,
      .release = release,
      .upload = upload,
      .download = download,
      .synchronize = synchronize,
      .record = record,
      .replay = replay,
      .forget = forget,
      .seconds_of = seconds_of,
      .copy = copy,
      .free_bytes = free_bytes,
      .begin_range = ranges_wanted() ? begin_range : nullptr,
      .end_range = ranges_wanted() ? end_range : nullptr,
      .gemm = gemm,
      .packed_bytes = nullptr,
      .pack = nullptr,
      .rms_norm = rms_norm,
      .layer_norm = layer_norm,
      .rope = rope,
      .norm_heads = norm_heads,
      .store = store,
      .store_decode = store_decode,
      .gated = gated,
      .activate = activate,
      .add_bias = add_bias,
      .add_scaled = add_scaled,
      .embed_patches = embed_patches,
      .drop_rows = drop_rows,
      .mix_rows = mix_rows,
      .prefill_attention = prefill_attention,
      .decode_attention = decode_attention,
      .full_attention = full_attention,
  };
  stream();  // opens the GPU
  return ops;
}

}  // namespace yopo::runtime::YOPO_CUDA_SPACE
