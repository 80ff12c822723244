#include "exporters/permute.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>
#include <thread>

#include "core/error.h"
#include "formats/checkpoint.h"

namespace yopo {
namespace {

// Read, checked and passed on at once: it stays in the core's cache meanwhile.
constexpr size_t piece_bytes = size_t(1) << 20;
constexpr size_t chunk_bytes = size_t(8) << 20;     // rows whose columns are permuted at once, by several threads
constexpr size_t ahead_bytes = size_t(64) << 20;    // of a tensor that is read in its own order
constexpr size_t next_bytes = size_t(256) << 20;    // of the next tensor
constexpr size_t thread_bytes = size_t(256) << 10;  // a thread is not worth its start for less
constexpr size_t copy_run_bytes = 64;               // shorter runs within a row are gathered element by element

// Asks the kernel to read ahead: without it every read would wait for the disk.
void will_need(const TensorView& tensor, size_t at, size_t size) {
  if (tensor.file) tensor.file->prefetch(size_t(tensor.bytes.data() - tensor.file->bytes().data()) + at, size);
}

// A tensor's bytes in pieces, checked for NaN and Inf as they come.
class Source {
 public:
  Source(const TensorView& tensor, const std::string& name) : tensor_(tensor), name_(name) {
    if (tensor.file) reader_.emplace(tensor.file);
  }

  void read(size_t at, size_t size, std::byte* to) const {
    const std::byte* from = tensor_.bytes.data() + at;
    if (reader_)
      reader_->read(size_t(from - tensor_.file->bytes().data()), size, to);
    else
      std::memcpy(to, from, size);
  }

  // `bytes`: whole elements that were read.
  void check(std::span<const std::byte> bytes) const {
    const fs::path file = tensor_.file ? tensor_.file->path() : fs::path();
    try {
      check_finite({tensor_.dtype, {int64_t(bytes.size() / size_of(tensor_.dtype))}, bytes, nullptr}, name_, file);
    } catch (const UserError&) {
      check_finite(tensor_, name_, file);  // again over the whole, to name the index in the tensor's own shape
      throw;
    }
  }

 private:
  const TensorView& tensor_;
  const std::string& name_;
  std::optional<FileReader> reader_;
};

void stream_straight(const TensorView& tensor, const Source& source, const Sink& sink) {
  const size_t total = tensor.bytes.size();
  std::vector<std::byte> buffer(std::min(piece_bytes, total));
  will_need(tensor, 0, ahead_bytes);
  for (size_t at = 0; at < total; at += piece_bytes) {
    const size_t size = std::min(piece_bytes, total - at);
    if (at % chunk_bytes == 0 && at + ahead_bytes < total) will_need(tensor, at + ahead_bytes, chunk_bytes);
    source.read(at, size, buffer.data());
    source.check({buffer.data(), size});
    sink(buffer.data(), size);
  }
}

struct Run {
  size_t from = 0, size = 0;
};

// Byte runs of the old order that make up the new one, neighbours joined. `stride`: bytes of one block.
std::vector<Run> runs_of(const std::vector<int64_t>& order, size_t stride) {
  std::vector<Run> runs;
  for (int64_t block : order) {
    const size_t from = size_t(block) * stride;
    if (!runs.empty() && runs.back().from + runs.back().size == from)
      runs.back().size += stride;
    else
      runs.push_back({from, stride});
  }
  return runs;
}

void stream_rows(const TensorView& tensor, const BlockOrder& rows, const Source& source, const Sink& sink) {
  std::vector<std::byte> buffer(std::min(piece_bytes, tensor.bytes.size()));
  size_t held = 0;
  const auto flush = [&] {
    source.check({buffer.data(), held});
    sink(buffer.data(), held);
    held = 0;
  };
  will_need(tensor, 0, tensor.bytes.size());
  for (Run run : runs_of(rows.order, tensor.bytes.size() / rows.order.size()))
    while (run.size > 0) {
      const size_t step = std::min(run.size, buffer.size() - held);
      source.read(run.from, step, buffer.data() + held);
      run.from += step, run.size -= step;
      held += step;
      if (held == buffer.size()) flush();
    }
  flush();
}

// How one row is put into its new order.
struct RowGather {
  std::vector<Run> runs;           // long runs: copied as they are
  std::vector<uint32_t> elements;  // otherwise: new element i is old element elements[i]
};

RowGather gather_of(const BlockOrder& columns, size_t width) {
  RowGather gather;
  gather.runs = runs_of(columns.order, size_t(columns.block) * width);
  const size_t row_bytes = columns.order.size() * size_t(columns.block) * width;
  if (row_bytes / gather.runs.size() >= copy_run_bytes) return gather;
  gather.runs.clear();
  for (int64_t block : columns.order)
    for (int64_t i = 0; i < columns.block; ++i) gather.elements.push_back(uint32_t(block * columns.block + i));
  return gather;
}

template <typename T>
void gather_elements(const std::byte* from, const std::vector<uint32_t>& elements, std::byte* to) {
  const T* source = reinterpret_cast<const T*>(from);
  T* target = reinterpret_cast<T*>(to);
  for (size_t i = 0; i < elements.size(); ++i) target[i] = source[elements[i]];
}

void gather_row(const RowGather& gather, size_t width, const std::byte* from, std::byte* to) {
  if (gather.elements.empty()) {
    for (const Run& run : gather.runs) {
      std::memcpy(to, from + run.from, run.size);
      to += run.size;
    }
    return;
  }
  switch (width) {
    case 1:
      return gather_elements<uint8_t>(from, gather.elements, to);
    case 2:
      return gather_elements<uint16_t>(from, gather.elements, to);
    case 4:
      return gather_elements<uint32_t>(from, gather.elements, to);
    default:
      return gather_elements<uint64_t>(from, gather.elements, to);
  }
}

void stream_columns(const TensorView& tensor, const BlockOrder& columns, const Source& source, const Sink& sink) {
  const size_t width = size_of(tensor.dtype);
  const size_t count = size_t(tensor.shape[0]), row_bytes = tensor.bytes.size() / count;
  const RowGather gather = gather_of(columns, width);
  const size_t chunk_rows = std::clamp(chunk_bytes / row_bytes, size_t(1), count);
  std::vector<std::byte> in(chunk_rows * row_bytes), out(in.size());
  const size_t workers = std::clamp(size_t(std::thread::hardware_concurrency()), size_t(1), size_t(16));
  will_need(tensor, 0, tensor.bytes.size());
  for (size_t first = 0; first < count; first += chunk_rows) {
    const size_t rows = std::min(chunk_rows, count - first);
    source.read(first * row_bytes, rows * row_bytes, in.data());
    source.check({in.data(), rows * row_bytes});
    const auto work = [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row)
        gather_row(gather, width, in.data() + row * row_bytes, out.data() + row * row_bytes);
    };
    const size_t parts = std::min(workers, 1 + rows * row_bytes / thread_bytes);
    {
      std::vector<std::jthread> threads;
      for (size_t part = 1; part < parts; ++part)
        threads.emplace_back(work, rows * part / parts, rows * (part + 1) / parts);
      work(0, rows / parts);
    }
    sink(out.data(), rows * row_bytes);
  }
}

void check_order(const BlockOrder& order, int64_t dimension) {
  ensure(order.block > 0 && int64_t(order.order.size()) * order.block == dimension,
         "a block order spans its dimension");
  std::vector<uint8_t> seen(order.order.size(), 0);
  for (int64_t block : order.order) {
    ensure(block >= 0 && block < int64_t(seen.size()) && !seen[size_t(block)], "a block order is a permutation");
    seen[size_t(block)] = 1;
  }
}

}  // namespace

bool BlockOrder::identity() const {
  for (size_t i = 0; i < order.size(); ++i)
    if (order[i] != int64_t(i)) return false;
  return true;
}

void prefetch(const TensorView& tensor) { will_need(tensor, 0, std::min(tensor.bytes.size(), next_bytes)); }

void stream_permuted(const TensorView& tensor, const std::string& name, const BlockOrder* rows,
                     const BlockOrder* columns, const Sink& sink) {
  if (rows) {
    ensure(!tensor.shape.empty(), "a tensor with rows");
    check_order(*rows, tensor.shape[0]);
  }
  if (columns) {
    ensure(tensor.shape.size() == 2 && tensor.shape[1] <= int64_t(UINT32_MAX), "a matrix with columns");
    check_order(*columns, tensor.shape[1]);
  }
  const bool by_rows = rows && !rows->identity(), by_columns = columns && !columns->identity();
  ensure(!(by_rows && by_columns), "one dimension of a tensor is permuted, not both");
  if (tensor.bytes.empty()) return;
  const Source source(tensor, name);
  if (by_rows)
    stream_rows(tensor, *rows, source, sink);
  else if (by_columns)
    stream_columns(tensor, *columns, source, sink);
  else
    stream_straight(tensor, source, sink);
}

}  // namespace yopo
