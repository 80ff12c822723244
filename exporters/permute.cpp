#include "exporters/permute.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "core/checkpoint.h"
#include "core/error.h"

namespace yopo {
namespace {

constexpr size_t chunk_bytes = size_t(8) << 20;  // read ahead, permuted and given back at once
// Passed on at once: small enough that what was just checked or permuted is written from the cache, and that page
// caches with large folios do not stall (on ext4, writes of 2 MiB and more ran at a quarter of the speed).
constexpr size_t piece_bytes = size_t(128) << 10;
constexpr size_t ahead_bytes = size_t(256) << 20;
constexpr size_t direct_bytes = size_t(256) << 10;  // runs this long are written straight from the mapping
constexpr size_t copy_run_bytes = 64;               // shorter runs within a row are gathered element by element

void drop_pages(const TensorView& tensor, const std::byte* from, size_t size) {
  if (tensor.file) tensor.file->drop(size_t(from - tensor.file->bytes().data()), size);
}

// Reading ahead of the copy: faults alone would wait for the disk chunk by chunk.
void will_need(const std::byte* from, size_t size) {
  if (size == 0) return;
  const auto address = reinterpret_cast<uintptr_t>(from), page = uintptr_t(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = address / page * page;
  (void)::madvise(reinterpret_cast<void*>(begin), size_t(address + size - begin), MADV_WILLNEED);
}

fs::path file_of(const TensorView& tensor) { return tensor.file ? tensor.file->path() : fs::path(); }

void pass_on(const std::byte* from, size_t size, const Sink& sink) {
  for (size_t at = 0; at < size; at += piece_bytes) sink(from + at, std::min(piece_bytes, size - at));
}

// Checked and passed on piece by piece, so that the second reading finds the bytes in the cache.
void stream_straight(const TensorView& tensor, const std::string& name, const Sink& sink) {
  const size_t width = size_of(tensor.dtype), total = tensor.bytes.size();
  for (size_t at = 0; at < total; at += piece_bytes) {
    const size_t size = std::min(piece_bytes, total - at);
    if (at % chunk_bytes == 0) {
      const size_t ahead = std::min(at + ahead_bytes, total);
      will_need(tensor.bytes.data() + ahead, std::min(chunk_bytes, total - ahead));
    }
    try {
      check_finite({tensor.dtype, {int64_t(size / width)}, tensor.bytes.subspan(at, size), tensor.file}, name,
                   file_of(tensor));
    } catch (const UserError&) {
      check_finite(tensor, name, file_of(tensor));  // again over the whole, to name the index in the tensor's own shape
      throw;
    }
    sink(tensor.bytes.data() + at, size);
    if ((at + size) % chunk_bytes == 0 || at + size == total) {
      const size_t first = at / chunk_bytes * chunk_bytes;
      drop_pages(tensor, tensor.bytes.data() + first, at + size - first);
    }
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

void stream_rows(const TensorView& tensor, const BlockOrder& rows, const Sink& sink) {
  const size_t stride = tensor.bytes.size() / rows.order.size();
  std::vector<std::byte> buffer;
  buffer.reserve(2 * direct_bytes);
  const auto flush = [&] {
    pass_on(buffer.data(), buffer.size(), sink);
    buffer.clear();
  };
  for (const Run& run : runs_of(rows.order, stride)) {
    const std::byte* from = tensor.bytes.data() + run.from;
    if (run.size >= direct_bytes) {
      flush();
      pass_on(from, run.size, sink);
      continue;
    }
    if (buffer.size() + run.size > buffer.capacity()) flush();
    buffer.insert(buffer.end(), from, from + run.size);
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

void stream_columns(const TensorView& tensor, const BlockOrder& columns, const Sink& sink) {
  const size_t width = size_of(tensor.dtype);
  const size_t count = size_t(tensor.shape[0]), row_bytes = tensor.bytes.size() / count;
  const RowGather gather = gather_of(columns, width);
  const size_t chunk_rows = std::clamp(chunk_bytes / row_bytes, size_t(1), count);
  std::vector<std::byte> buffer(chunk_rows * row_bytes);
  const size_t workers = std::clamp(size_t(std::thread::hardware_concurrency()), size_t(1), size_t(16));
  for (size_t first = 0; first < count; first += chunk_rows) {
    const size_t rows = std::min(chunk_rows, count - first);
    const std::byte* from = tensor.bytes.data() + first * row_bytes;
    const auto work = [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row)
        gather_row(gather, width, from + row * row_bytes, buffer.data() + row * row_bytes);
    };
    // A thread is not worth its start for less than a quarter of a megabyte.
    const size_t parts = std::min(workers, 1 + rows * row_bytes / direct_bytes);
    {
      std::vector<std::jthread> threads;
      for (size_t part = 1; part < parts; ++part)
        threads.emplace_back(work, rows * part / parts, rows * (part + 1) / parts);
      work(0, rows / parts);
    }
    pass_on(buffer.data(), rows * row_bytes, sink);
    drop_pages(tensor, from, rows * row_bytes);
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

void prefetch(const TensorView& tensor) { will_need(tensor.bytes.data(), std::min(tensor.bytes.size(), ahead_bytes)); }

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
  if (!by_rows && !by_columns) return stream_straight(tensor, name, sink);
  will_need(tensor.bytes.data(), tensor.bytes.size());
  check_finite(tensor, name, file_of(tensor));
  if (by_rows)
    stream_rows(tensor, *rows, sink);
  else
    stream_columns(tensor, *columns, sink);
  drop_pages(tensor, tensor.bytes.data(), tensor.bytes.size());
}

}  // namespace yopo
