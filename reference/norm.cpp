#include "reference/norm.h"

#include <ATen/ATen.h>

namespace yopo {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor scaled = wide * at::rsqrt((wide * wide).mean(-1, true) + eps);
  return scaled.to(x.scalar_type()) * weight;
}

Rotation rotation_of(const RopeTable& table) {
  const int64_t rows = int64_t(table.cos.size()) / table.half;
  const auto tensor = [&](const std::vector<float>& values) {
    return at::from_blob(const_cast<float*>(values.data()), {rows, table.half}, at::kFloat).clone();
  };
  return {tensor(table.cos), tensor(table.sin)};
}

at::Tensor rotate(const at::Tensor& x, const Rotation& rotation) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor a = wide.slice(-1, 0, half), b = wide.slice(-1, half);
  return at::cat({a * rotation.cos - b * rotation.sin, b * rotation.cos + a * rotation.sin}, -1).to(x.scalar_type());
}

}  // namespace yopo
