// What our uses of oneDNN share. The one place where its versions 2 and 3 differ for us.
#pragma once

#include <dnnl.hpp>

#include "core/dtype.h"

namespace yopo::runtime::cpu {

inline const dnnl::engine& engine() {
  static const dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

inline dnnl::memory::data_type type_of(DType type) {
  return type == DType::BF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
}

/// A product's arguments; a `bias` of no dimensions: none.
struct MatmulDescs {
  dnnl::memory::desc a, w, bias, out;
};

inline dnnl::matmul::primitive_desc describe(const MatmulDescs& d, const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
  const bool bias = d.bias.get_ndims() > 0;
  if (bias) return {engine(), d.a, d.w, d.bias, d.out, attributes};
  return {engine(), d.a, d.w, d.out, attributes};
#else
  const bool bias = d.bias.data.ndims > 0;
  if (bias) return {{d.a, d.w, d.bias, d.out}, attributes, engine()};
  return {{d.a, d.w, d.out}, attributes, engine()};
#endif
}

}  // namespace yopo::runtime::cpu
