#include <utility>

#include "core/error.h"
#include "tests/support/cuda_emulator/runtime.h"

namespace shim {

namespace {

auto& events = *new Handles<CUevent_st>;

cudaError_t unknown_event() { return fail(cudaErrorInvalidResourceHandle, "an event that does not exist"); }

/// Runs a stream until the marker is passed.
void run_until(const Marker& marker) {
  while (!marker.passed) run_oldest(*resolve(marker.stream));
}

}  // namespace

size_t live_events() { return events.size(); }

}  // namespace shim

inline namespace cuda_shim_api {

using namespace shim;

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Guard guard(api_lock());
  CUstream_st* const found = resolve(stream);
  if (found == nullptr) return unknown_stream();
  if (!events.has(event)) return unknown_event();
  if (event->captured != 0) {
    if (found->capture && event->captured == found->capture->id) return cudaSuccess;  // in order already
    refuse_in_capture("cudaStreamWaitEvent");
    return fail(cudaErrorNotSupported, "a capture that forks into a second stream is not emulated");
  }
  if (event->marker == nullptr) return cudaSuccess;
  if (found->capture) {
    found->capture->valid = false;
    return fail(cudaErrorStreamCaptureIsolation, "the captured stream would wait for work that is not captured");
  }
  return enqueue(stream, {[marker = event->marker] { run_until(*marker); }});
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Guard guard(api_lock());
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if ((flags & ~unsigned(cudaEventBlockingSync | cudaEventDisableTiming)) != 0)
    return fail(cudaErrorInvalidValue, fmt::format("event flags {}", flags));
  auto made = std::make_unique<CUevent_st>();
  made->flags = flags;
  *event = events.add(std::move(made));
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Guard guard(api_lock());
  CUstream_st* const found = resolve(stream);
  if (found == nullptr) return unknown_stream();
  if (!events.has(event)) return unknown_event();
  event->captured = found->capture ? found->capture->id : 0;
  if (found->capture) {
    event->marker = nullptr;
    return found->capture->valid ? cudaSuccess : fail(cudaErrorStreamCaptureInvalidated, "the capture is void");
  }
  auto marker = std::make_shared<Marker>();
  marker->stream = stream;
  event->marker = marker;
  return enqueue(stream, {[marker] {
                            marker->when = std::chrono::steady_clock::now();
                            marker->passed = true;
                          },
                          true});
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Guard guard(api_lock());
  if (!events.has(event)) return unknown_event();
  if (event->captured != 0) return fail(cudaErrorCapturedEvent, "cudaEventQuery");
  rethrow_failure();
  if (event->marker == nullptr || event->marker->passed) return cudaSuccess;
  run_oldest(*resolve(event->marker->stream));
  return cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Guard guard(api_lock());
  if (!events.has(event)) return unknown_event();
  if (event->captured != 0) return fail(cudaErrorCapturedEvent, "cudaEventSynchronize");
  rethrow_failure();
  if (event->marker != nullptr) run_until(*event->marker);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  const Guard guard(api_lock());
  if (!events.has(start) || !events.has(end)) return unknown_event();
  if (((start->flags | end->flags) & cudaEventDisableTiming) != 0 || start->marker == nullptr || end->marker == nullptr)
    return fail(cudaErrorInvalidResourceHandle, "an event without timing, or one that was not recorded");
  if (!start->marker->passed || !end->marker->passed) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(end->marker->when - start->marker->when).count();
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Guard guard(api_lock());
  return events.remove(event) ? cudaSuccess : unknown_event();
}

}  // namespace cuda_shim_api
