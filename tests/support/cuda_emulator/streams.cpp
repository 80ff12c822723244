// Streams are queues whose work runs when somebody waits for it, as late as a device could: what the host changes too
// early, or reads without waiting, shows.
#include <utility>

#include "core/error.h"
#include "tests/support/cuda_emulator/runtime.h"

namespace shim {

namespace {

constexpr size_t kLongestQueue = 512;  // then the older half runs

CUstream_st& legacy_stream = *new CUstream_st;  // cudaStreamLegacy, the null stream
auto& streams = *new Handles<CUstream_st>;
std::exception_ptr failure;  // of work that was waited for by a call that cannot throw

void run_all(CUstream_st& stream) {
  while (!stream.queue.empty()) run_oldest(stream);
}

/// The legacy stream waits for blocking streams and they wait for it.
void order_with_others(const CUstream_st& stream) {
  if (&stream == &legacy_stream) {
    for (const auto& other : streams)
      if ((other->flags & cudaStreamNonBlocking) == 0) run_all(*other);
  } else if ((stream.flags & cudaStreamNonBlocking) == 0) {
    run_all(legacy_stream);
  }
}

}  // namespace

size_t live_streams() { return streams.size(); }

cudaError_t unknown_stream() { return fail(cudaErrorInvalidResourceHandle, "a stream that does not exist"); }

CUstream_st* resolve(cudaStream_t stream) {
  if (stream == nullptr || stream == cudaStreamLegacy) return &legacy_stream;
  return streams.has(stream) ? stream : nullptr;
}

bool legacy(const CUstream_st& stream) { return &stream == &legacy_stream; }

void run_oldest(CUstream_st& stream) {
  yopo::ensure(!inside_kernel(), "a kernel calls the host's interface");
  yopo::ensure(!stream.queue.empty(), "an event that was recorded is in its stream's queue until it has passed");
  const Work work = std::move(stream.queue.front());
  stream.queue.pop_front();
  try {
    work.run();
  } catch (...) {
    for (const Work& later : std::exchange(stream.queue, {}))
      if (later.always) later.run();
    throw;
  }
}

void rethrow_failure() {
  if (failure) std::rethrow_exception(std::exchange(failure, nullptr));
}

cudaError_t break_captures(const char* call, const std::function<bool(const CUstream_st&)>& affected) {
  bool any = false;
  for (const auto& stream : streams)
    if (stream->capture && affected(*stream)) {
      stream->capture->valid = false;
      any = true;
    }
  return any ? fail(cudaErrorStreamCaptureUnsupported, fmt::format("{} while a stream is being captured", call))
             : cudaSuccess;
}

void forget_failure() { failure = nullptr; }

cudaError_t check_stream(cudaStream_t stream) { return resolve(stream) == nullptr ? unknown_stream() : cudaSuccess; }

cudaError_t enqueue(cudaStream_t handle, Work work) {
  yopo::ensure(!inside_kernel(), "a kernel calls the host's interface");
  CUstream_st* const stream = resolve(handle);
  if (stream == nullptr) return unknown_stream();
  if (stream->capture) {
    if (!stream->capture->valid)
      return fail(cudaErrorStreamCaptureInvalidated, "the capture is void since an earlier call");
    stream->capture->nodes.push_back(std::move(work.run));
    return cudaSuccess;
  }
  const auto depends = [](const CUstream_st& other) { return (other.flags & cudaStreamNonBlocking) == 0; };
  if (legacy(*stream) && break_captures("work in the legacy stream", depends) != cudaSuccess)
    return fail(cudaErrorStreamCaptureImplicit, "work in the legacy stream, which waits for the captured one");
  std::exception_ptr late;
  try {
    rethrow_failure();
    order_with_others(*stream);
  } catch (...) {
    late = std::current_exception();
  }
  if (!late || work.always) stream->queue.push_back(std::move(work));
  if (late) std::rethrow_exception(late);
  if (stream->queue.size() > kLongestQueue)
    while (stream->queue.size() > kLongestQueue / 2) run_oldest(*stream);
  return cudaSuccess;
}

void drain(cudaStream_t stream) {
  rethrow_failure();
  order_with_others(*resolve(stream));
  run_all(*resolve(stream));
}

void drain_all() {
  std::exception_ptr first = std::exchange(failure, nullptr);
  const auto run = [&](CUstream_st& stream) {
    try {
      run_all(stream);
    } catch (...) {
      if (!first) first = std::current_exception();
    }
  };
  for (const auto& stream : streams) run(*stream);
  run(legacy_stream);
  if (first) std::rethrow_exception(first);
}

cudaError_t refuse_in_capture(const char* call) {
  return break_captures(call, [](const CUstream_st& stream) {
    return stream.capture->mode == cudaStreamCaptureModeGlobal ||
           (stream.capture->mode == cudaStreamCaptureModeThreadLocal &&
            stream.capture->thread == std::this_thread::get_id());
  });
}

cudaError_t refuse_in_capture_of(cudaStream_t stream, const char* call) {
  const CUstream_st* const wanted = resolve(stream);
  return break_captures(call, [=](const CUstream_st& other) { return &other == wanted; });
}

cudaError_t settle(const std::function<cudaError_t()>& action) {
  try {
    return action();
  } catch (const std::exception& error) {
    if (!failure) failure = std::current_exception();
    return fail(cudaErrorLaunchFailure, error.what());
  } catch (...) {
    if (!failure) failure = std::current_exception();
    return fail(cudaErrorLaunchFailure, "something was thrown");
  }
}

}  // namespace shim

inline namespace cuda_shim_api {

using namespace shim;

cudaError_t cudaDeviceSynchronize() {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if (const cudaError_t status = break_captures("cudaDeviceSynchronize", [](const CUstream_st&) { return true; });
      status != cudaSuccess)
    return status;
  drain_all();
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if (flags > cudaStreamNonBlocking) return fail(cudaErrorInvalidValue, fmt::format("stream flags {}", flags));
  auto made = std::make_unique<CUstream_st>();
  made->flags = flags;
  made->device = current_device();
  *stream = streams.add(std::move(made));
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Guard guard(api_lock());
  if (stream == nullptr || !streams.has(stream)) return unknown_stream();
  const cudaError_t status = settle([&] { return run_all(*stream), cudaSuccess; });
  streams.remove(stream);
  return status;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Guard guard(api_lock());
  if (resolve(stream) == nullptr) return unknown_stream();
  if (const cudaError_t status = refuse_in_capture_of(stream, "cudaStreamSynchronize"); status != cudaSuccess)
    return status;
  if (!machine().failures_as_status) return drain(stream), cudaSuccess;
  try {
    drain(stream);
  } catch (const std::exception& error) {
    return fail(cudaErrorLaunchFailure, error.what());
  }
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Guard guard(api_lock());
  CUstream_st* const found = resolve(stream);
  if (found == nullptr) return unknown_stream();
  if (const cudaError_t status = refuse_in_capture_of(stream, "cudaStreamQuery"); status != cudaSuccess) return status;
  rethrow_failure();
  if (found->queue.empty()) return cudaSuccess;
  run_oldest(*found);  // so that asking again and again ends
  return cudaErrorNotReady;
}

}  // namespace cuda_shim_api
