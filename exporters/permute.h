// Streams one tensor with its rows or columns in a new order through a bounded buffer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "formats/safetensors.h"

namespace yopo {

/// A permutation of a dimension in blocks: new block i is old block order[i]; the dimension is order.size() * block
/// long.
struct BlockOrder {
  std::vector<int64_t> order;
  int64_t block = 1;
  bool identity() const;
};

/// Takes the next bytes of a tensor.
using Sink = std::function<void(const void* data, size_t size)>;

/// Asks the kernel to start reading the tensor's bytes (at most the first 256 MiB) from disk, without waiting for them.
void prefetch(const TensorView& tensor);

/// Passes the tensor's bytes, rows (dimension 0) and columns (dimension 1) in the new order, to `sink` piece by piece;
/// null keeps a dimension as it is, and at most one is permuted. Its pages are read, not mapped.
/// UserError naming the tensor for NaN or Inf; InternalError unless an order is a permutation of its dimension.
void stream_permuted(const TensorView& tensor, const std::string& name, const BlockOrder* rows,
                     const BlockOrder* columns, const Sink& sink);

}  // namespace yopo
