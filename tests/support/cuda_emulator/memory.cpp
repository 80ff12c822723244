// Device and pinned memory: allocations, copies, fills.
#include <cstring>
#include <map>

#include "core/error.h"
#include "tests/support/cuda_emulator/heap.h"
#include "tests/support/cuda_emulator/runtime.h"

namespace shim {

namespace {

struct Allocation {
  HeapBlock data;
  size_t bytes = 0;
  Place place = Place::device;
  bool freeing = false;  // a stream will free it
};
// Never destroyed, like all state here: buffers of static lifetime are freed after it would be.
auto& allocations = *new std::map<uintptr_t, Allocation>;  // by first address
size_t device_bytes = 0;

uintptr_t address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

/// The allocation that holds the byte at `pointer`, or null.
const Allocation* find(const void* pointer) {
  auto next = allocations.upper_bound(address(pointer));
  if (next == allocations.begin()) return nullptr;
  --next;
  return address(pointer) - next->first < next->second.bytes ? &next->second : nullptr;
}

const char* name_of(Place place) {
  return place == Place::device ? "device memory" : place == Place::pinned ? "pinned memory" : "pageable host memory";
}

cudaError_t allocate(void** pointer, size_t bytes, Place place) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  const auto room = [] { return machine().total_bytes - std::min(device_bytes, machine().total_bytes); };
  // Memory that streams are going to free is waited for before there is said to be none.
  if (place == Place::device && bytes > room()) drain_all();
  if (place == Place::device && bytes > room())
    return fail(cudaErrorMemoryAllocation,
                fmt::format("{} bytes, {} of {} in use", bytes, device_bytes, machine().total_bytes));
  Allocation allocation;
  try {
    allocation.data = allocate_heap(bytes, 256);  // what cudaMalloc promises
  } catch (const yopo::UserError& error) {
    return fail(cudaErrorMemoryAllocation, error.what());
  }
  allocation.bytes = bytes;
  allocation.place = place;
  std::memset(allocation.data.get(), 0xff, bytes);  // NaN in every floating type: reading it before writing it shows
  *pointer = allocation.data.get();
  if (place == Place::device) device_bytes += bytes;
  allocations.emplace(address(*pointer), std::move(allocation));
  return cudaSuccess;
}

void release(const void* pointer) {
  const auto found = allocations.find(address(pointer));
  if (found->second.place == Place::device) device_bytes -= found->second.bytes;
  allocations.erase(found);
}

/// What is wrong with freeing `pointer` as memory of `place`, or "".
std::string free_error(const void* pointer, Place place) {
  const auto found = allocations.find(address(pointer));
  if (found == allocations.end())
    return fmt::format("free of {}, which is not the start of an allocation, or was freed before", pointer);
  if (found->second.place != place)
    return fmt::format("free of {} as {}, but it is {}", pointer, name_of(place), name_of(found->second.place));
  if (found->second.freeing) return fmt::format("free of {}, which a stream is going to free already", pointer);
  return "";
}

/// At the time when the work runs: memory may have been freed since it was issued.
void ensure_range(const char* what, const void* pointer, size_t bytes, bool tracked) {
  const Allocation* allocation = find(pointer);
  if (tracked &&
      (allocation == nullptr || address(pointer) + bytes > address(allocation->data.get()) + allocation->bytes))
    throw yopo::InternalError(
        fmt::format("{} of {} bytes at {}: the memory was freed since this was issued", what, bytes, pointer));
}

cudaError_t check_direction(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Place target = place_of(to), source = place_of(from);
  const auto wrong = [&](const char* side, Place place) {
    return fail(cudaErrorInvalidValue,
                fmt::format("copy of {} bytes, kind {}: its {} is {}", bytes, int(kind), side, name_of(place)));
  };
  if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault)
    return fail(cudaErrorInvalidMemcpyDirection, fmt::format("kind {}", int(kind)));
  if (kind != cudaMemcpyDefault) {
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (to_device != (target == Place::device)) return wrong("target", target);
    if (from_device != (source == Place::device)) return wrong("source", source);
  }
  for (const void* pointer : {static_cast<const void*>(to), from})
    if (const std::string problem = range_error(pointer, bytes); !problem.empty())
      return fail(cudaErrorInvalidValue, fmt::format("copy of {} bytes, kind {}: {}", bytes, int(kind), problem));
  if (address(to) < address(from) + bytes && address(from) < address(to) + bytes)
    return fail(cudaErrorInvalidValue, fmt::format("copy of {} bytes from {} to {}: they overlap", bytes, from, to));
  return cudaSuccess;
}

cudaError_t fill(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if (bytes == 0) return cudaSuccess;
  if (place_of(pointer) != Place::device)
    return fail(cudaErrorInvalidValue, fmt::format("memset at {}, which is {}", pointer, name_of(place_of(pointer))));
  if (const std::string problem = range_error(pointer, bytes); !problem.empty())
    return fail(cudaErrorInvalidValue, fmt::format("memset of {} bytes: {}", bytes, problem));
  return enqueue(stream, {[=] {
                   ensure_range("memset", pointer, bytes, true);
                   std::memset(pointer, value, bytes);
                 }});
}

}  // namespace

Place place_of(const void* pointer) {
  const Allocation* allocation = find(pointer);
  return allocation == nullptr ? Place::pageable : allocation->place;
}

std::string range_error(const void* pointer, size_t bytes, bool running) {
  if (pointer == nullptr) return "a null pointer";
  const Allocation* allocation = find(pointer);
  if (allocation == nullptr) {
    // The end of an allocation, or the gap after it, taken for host memory.
    const auto next = allocations.lower_bound(address(pointer));
    return next != allocations.end() && bytes > next->first - address(pointer)
               ? fmt::format("{} runs into an allocation that begins at {}", pointer, next->second.data.get())
               : "";
  }
  const size_t offset = address(pointer) - address(allocation->data.get());
  if (allocation->freeing && !running)
    return fmt::format("{} lies in an allocation that has been freed in a stream", pointer);
  if (bytes > allocation->bytes - offset)
    return fmt::format("{} is byte {} of an allocation of {} bytes, so {} end past it", pointer, offset,
                       allocation->bytes, bytes);
  return "";
}

size_t live_allocation_count() { return allocations.size(); }
size_t live_device_bytes() { return device_bytes; }

}  // namespace shim

inline namespace cuda_shim_api {

using namespace shim;

struct CUmemPoolHandle_st {
  uint64_t release_threshold = 0;
};
static CUmemPoolHandle_st the_pool;

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  *total = machine().total_bytes;
  *free = *total - std::min(device_bytes, *total);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if (const cudaError_t status = refuse_in_capture("cudaMalloc"); status != cudaSuccess) return status;
  return allocate(pointer, bytes, Place::device);
}

cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t stream) {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  // The real one makes a node of it; a graph that owns memory is not emulated.
  if (const cudaError_t status = refuse_in_capture_of(stream, "cudaMallocAsync"); status != cudaSuccess) return status;
  if (const cudaError_t status = check_stream(stream); status != cudaSuccess) return status;
  return allocate(pointer, bytes, Place::device);
}

cudaError_t cudaFree(void* pointer) {
  const Guard guard(api_lock());
  if (const cudaError_t status = refuse_in_capture("cudaFree"); status != cudaSuccess) return status;
  if (pointer == nullptr) return cudaSuccess;
  if (const std::string problem = free_error(pointer, Place::device); !problem.empty())
    return fail(cudaErrorInvalidValue, problem);
  const cudaError_t status = settle([] { return drain_all(), cudaSuccess; });
  release(pointer);
  return status;
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
  const Guard guard(api_lock());
  if (const cudaError_t status = refuse_in_capture_of(stream, "cudaFreeAsync"); status != cudaSuccess) return status;
  if (pointer == nullptr) return cudaSuccess;
  if (const std::string problem = free_error(pointer, Place::device); !problem.empty())
    return fail(cudaErrorInvalidValue, problem);
  if (const cudaError_t status = check_stream(stream); status != cudaSuccess) return status;
  allocations.find(address(pointer))->second.freeing = true;
  return settle([&] { return enqueue(stream, {[=] { release(pointer); }, true}); });
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if (device < 0 || device >= machine().device_count)
    return fail(cudaErrorInvalidDevice, fmt::format("device {}", device));
  *pool = &the_pool;
  return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  const Guard guard(api_lock());
  if (pool != &the_pool || value == nullptr) return fail(cudaErrorInvalidValue, "no such memory pool, or no value");
  if (attribute != cudaMemPoolAttrReleaseThreshold)
    return fail(cudaErrorInvalidValue, fmt::format("memory pool attribute {} is not emulated", int(attribute)));
  pool->release_threshold = *static_cast<const uint64_t*>(value);
  return cudaSuccess;
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  const Guard guard(api_lock());
  if (pool != &the_pool || value == nullptr) return fail(cudaErrorInvalidValue, "no such memory pool, or no value");
  switch (attribute) {
    case cudaMemPoolAttrReleaseThreshold:
      *static_cast<uint64_t*>(value) = pool->release_threshold;
      return cudaSuccess;
    case cudaMemPoolAttrReservedMemCurrent:
    case cudaMemPoolAttrUsedMemCurrent:
      *static_cast<uint64_t*>(value) = device_bytes;
      return cudaSuccess;
    default:
      return fail(cudaErrorInvalidValue, fmt::format("memory pool attribute {} is not emulated", int(attribute)));
  }
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t) {
  const Guard guard(api_lock());
  return pool == &the_pool ? cudaSuccess : fail(cudaErrorInvalidValue, "no such memory pool");
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) { return cudaHostAlloc(pointer, bytes, cudaHostAllocDefault); }

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned) {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if (const cudaError_t status = refuse_in_capture("cudaHostAlloc"); status != cudaSuccess) return status;
  return allocate(pointer, bytes, Place::pinned);
}

cudaError_t cudaFreeHost(void* pointer) {
  const Guard guard(api_lock());
  if (const cudaError_t status = refuse_in_capture("cudaFreeHost"); status != cudaSuccess) return status;
  if (pointer == nullptr) return cudaSuccess;
  if (const std::string problem = free_error(pointer, Place::pinned); !problem.empty())
    return fail(cudaErrorInvalidValue, problem);
  const cudaError_t status = settle([] { return drain_all(), cudaSuccess; });
  release(pointer);
  return status;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Guard guard(api_lock());
  if (const cudaError_t status = refuse_in_capture("cudaMemcpy"); status != cudaSuccess) return status;
  const cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
  if (status == cudaSuccess) drain(nullptr);
  return status;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if (bytes == 0) return cudaSuccess;
  if (const cudaError_t status = check_direction(to, from, bytes, kind); status != cudaSuccess) return status;
  const Place target = place_of(to), source = place_of(from);
  const bool pageable = target == Place::pageable || source == Place::pageable;
  if (pageable)
    if (const cudaError_t status = refuse_in_capture_of(stream, "a copy of pageable memory"); status != cudaSuccess)
      return status;

  std::shared_ptr<std::vector<char>> staged;
  if (source == Place::pageable && target == Place::device)
    staged =
        std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
  const cudaError_t status = enqueue(stream, {[=] {
                                       ensure_range("copy", to, bytes, target != Place::pageable);
                                       ensure_range("copy", from, bytes, source != Place::pageable);
                                       std::memcpy(to, staged ? staged->data() : from, bytes);
                                     }});
  if (status == cudaSuccess && pageable && !staged) drain(stream);  // as on a device: done when the call returns
  return status;
}

cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  const Guard guard(api_lock());
  if (const cudaError_t status = refuse_in_capture("cudaMemset"); status != cudaSuccess) return status;
  return fill(pointer, value, bytes, nullptr);
}

cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  const Guard guard(api_lock());
  return fill(pointer, value, bytes, stream);
}

}  // namespace cuda_shim_api
