// Work that is recorded instead of run, and run again and again.
#include <utility>

#include "core/error.h"
#include "tests/support/cuda_emulator/runtime.h"

namespace shim {

namespace {

auto& graphs = *new Handles<CUgraph_st>;
auto& executables = *new Handles<CUgraphExec_st>;
unsigned long long captures = 0;  // begun so far

}  // namespace

size_t live_graphs() { return graphs.size() + executables.size(); }

}  // namespace shim

inline namespace cuda_shim_api {

using namespace shim;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Guard guard(api_lock());
  CUstream_st* const found = resolve(stream);
  if (found == nullptr) return unknown_stream();
  if (legacy(*found)) return fail(cudaErrorStreamCaptureUnsupported, "the legacy stream cannot be captured");
  if (found->capture) return fail(cudaErrorIllegalState, "the stream is being captured already");
  found->capture = std::make_unique<Capture>(Capture{++captures, mode, std::this_thread::get_id(), {}});
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Guard guard(api_lock());
  *graph = nullptr;
  CUstream_st* const found = resolve(stream);
  if (found == nullptr) return unknown_stream();
  if (!found->capture) return fail(cudaErrorIllegalState, "the stream is not being captured");
  if (found->capture->mode != cudaStreamCaptureModeRelaxed && found->capture->thread != std::this_thread::get_id())
    return fail(cudaErrorStreamCaptureWrongThread, "the capture was begun by another thread");
  const std::unique_ptr<Capture> capture = std::move(found->capture);
  if (!capture->valid) return fail(cudaErrorStreamCaptureInvalidated, "the capture is void since an earlier call");
  auto made = std::make_unique<CUgraph_st>();
  made->nodes = std::make_shared<const std::vector<Task>>(std::move(capture->nodes));
  *graph = graphs.add(std::move(made));
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Guard guard(api_lock());
  CUstream_st* const found = resolve(stream);
  if (found == nullptr) return unknown_stream();
  *status = !found->capture         ? cudaStreamCaptureStatusNone
            : found->capture->valid ? cudaStreamCaptureStatusActive
                                    : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags) {
  const Guard guard(api_lock());
  *executable = nullptr;
  if (!graphs.has(graph)) return fail(cudaErrorInvalidValue, "a graph that does not exist");
  if (flags != 0) return fail(cudaErrorInvalidValue, fmt::format("graph flags {} are not emulated", flags));
  auto made = std::make_unique<CUgraphExec_st>();
  made->nodes = graph->nodes;
  *executable = executables.add(std::move(made));
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t stream) {
  const Guard guard(api_lock());
  if (!executables.has(executable)) return fail(cudaErrorInvalidValue, "an executable graph that does not exist");
  return check_stream(stream);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const Guard guard(api_lock());
  if (!executables.has(executable)) return fail(cudaErrorInvalidValue, "an executable graph that does not exist");
  return enqueue(stream, {[nodes = executable->nodes] {
                   for (const Task& node : *nodes) node();
                 }});
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  const Guard guard(api_lock());
  return executables.remove(executable) ? cudaSuccess
                                        : fail(cudaErrorInvalidValue, "an executable graph that does not exist");
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Guard guard(api_lock());
  return graphs.remove(graph) ? cudaSuccess : fail(cudaErrorInvalidValue, "a graph that does not exist");
}

}  // namespace cuda_shim_api
