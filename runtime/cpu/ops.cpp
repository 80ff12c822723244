// The CPU's table of operations, and device memory.
#include "runtime/ops.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "runtime/cpu/attention.h"
#include "runtime/cpu/elementwise.h"
#include "runtime/cpu/gemm.h"
#include "runtime/cpu/packed.h"

namespace yopo::runtime {
namespace {

constexpr size_t huge_page = size_t(2) << 20;

void* allocate(size_t bytes) {
  // Whole huge pages for large buffers: matrix products walk rows far apart, and the page walks cost several percent.
  const size_t alignment = bytes >= huge_page ? huge_page : 64;
  void* data = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
  if (!data) throw std::bad_alloc();
#if defined(__linux__)
  if (bytes >= huge_page) madvise(data, bytes, MADV_HUGEPAGE);  // advice only: failure costs speed, nothing else
#endif
  return data;
}
void release(void* data, size_t) { std::free(data); }
void copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
void synchronize() {}

bool supports(DType type, std::string* why) {
  if (type == DType::F32 || (type == DType::BF16 && cpu::bf16_is_possible())) return true;
  if (why)
    *why = type == DType::BF16 ? "this CPU has no bf16 matrix products (AVX-512); use fp32"
                               : "the CPU computes in fp32 or bf16";
  return false;
}

}  // namespace

const Ops& cpu_ops() {
  static const Ops ops{
      .name = "cpu",
      .host_memory = true,
      .supports = supports,
      .allocate = allocate,
      .release = release,
      .upload = copy,
      .download = copy,
      .synchronize = synchronize,
      .record = nullptr,
      .replay = nullptr,
      .forget = nullptr,
      .gemm = cpu::gemm,
      .packed_bytes = cpu::packed_bytes,
      .pack = cpu::pack,
      .rms_norm = cpu::rms_norm,
      .layer_norm = cpu::layer_norm,
      .rope = cpu::rope,
      .norm_heads = cpu::norm_heads,
      .store = cpu::store,
      .store_decode = cpu::store_decode,
      .gated = cpu::gated,
      .activate = cpu::activate,
      .add_bias = cpu::add_bias,
      .add_scaled = cpu::add_scaled,
      .embed_patches = cpu::embed_patches,
      .drop_rows = cpu::drop_rows,
      .mix_rows = cpu::mix_rows,
      .prefill_attention = cpu::prefill_attention,
      .decode_attention = cpu::decode_attention,
      .full_attention = cpu::full_attention,
  };
  return ops;
}

Buffer::Buffer(const Ops& ops, size_t bytes, MemoryUse* use) : ops_(&ops), use_(use), bytes_(bytes) {
  if (bytes == 0) return;
  data_ = ops.allocate(bytes);
  if (use_) use_->peak = std::max(use_->peak, use_->bytes += int64_t(bytes));
}

Buffer::~Buffer() {
  if (!data_) return;
  ops_->release(data_, bytes_);
  if (use_) use_->bytes -= int64_t(bytes_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : ops_(other.ops_),
      use_(other.use_),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(ops_, other.ops_);
  std::swap(use_, other.use_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace yopo::runtime
