#include "runtime/cpu/packed.h"

#include "core/error.h"
#include "runtime/cpu/onednn.h"
#include "runtime/ops.h"

namespace yopo::runtime::cpu {
namespace {

/// Whether oneDNN itself would choose the form here: it does where it has AVX-512 kernels for the type.
bool is_chosen(DType type) {
  using Desc = dnnl::memory::desc;
  try {
    MatmulDescs descs;
    descs.a = Desc({64, 256}, type_of(type), {256, 1});
    descs.w = Desc({256, 256}, type_of(type), dnnl::memory::format_tag::any);
    descs.out = Desc({64, 256}, dnnl::memory::data_type::f32, {256, 1});
    return describe(descs, {}).weights_desc() == packed_desc(type, 256, 256);
  } catch (const dnnl::error&) {
    return false;
  }
}

bool is_of_use(DType type) {
  static const bool f32 = is_chosen(DType::F32), bf16 = is_chosen(DType::BF16);
  return type == DType::F32 ? f32 : type == DType::BF16 && bf16;
}

}  // namespace

dnnl::memory::desc packed_desc(DType type, int64_t n, int64_t k) {
  using Tag = dnnl::memory::format_tag;
  return {{k, n}, type_of(type), type == DType::BF16 ? Tag::BA16a64b2a : Tag::BA16a64b};
}

size_t packed_bytes(DType type, int64_t n, int64_t k) {
  return n > 0 && k > 0 && is_of_use(type) ? packed_desc(type, n, k).get_size() : 0;
}

void pack(DType type, const void* w, int64_t ldw, int64_t n, int64_t k, void* out) {
  ensure(n > 0 && k > 0 && ldw >= k, "pack: row strides shorter than rows");
  const dnnl::memory::desc plain({k, n}, type_of(type), {1, n == 1 ? k : ldw}), packed = packed_desc(type, n, k);
  dnnl::memory from(plain, engine(), const_cast<void*>(w)), to(packed, engine(), out);
  dnnl::stream stream(engine());
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
}

}  // namespace yopo::runtime::cpu
