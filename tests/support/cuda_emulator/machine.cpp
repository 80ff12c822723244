#include "tests/support/cuda_emulator/machine.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "core/error.h"
#include "tests/support/cuda_emulator/block.h"
#include "tests/support/cuda_emulator/runtime.h"

namespace shim {

namespace {

constexpr int kRuntimeVersion = CUDART_VERSION;

Machine the_machine;
thread_local int current = 0;  // the calling thread's device
thread_local cudaError_t last_error = cudaSuccess;
thread_local std::map<int, std::string> details;  // by error, of the latest

struct ErrorText {
  cudaError_t error;
  const char* name;
  const char* text;
};
#define SHIM_ERROR(error, text) \
  { error, #error, text }
const ErrorText kErrors[] = {
    SHIM_ERROR(cudaSuccess, "no error"),
    SHIM_ERROR(cudaErrorInvalidValue, "invalid argument"),
    SHIM_ERROR(cudaErrorMemoryAllocation, "out of memory"),
    SHIM_ERROR(cudaErrorInitializationError, "initialization error"),
    SHIM_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    SHIM_ERROR(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    SHIM_ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    SHIM_ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version"),
    SHIM_ERROR(cudaErrorDevicesUnavailable, "CUDA-capable device(s) is/are busy or unavailable"),
    SHIM_ERROR(cudaErrorInvalidDeviceFunction, "invalid device function"),
    SHIM_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    SHIM_ERROR(cudaErrorInvalidDevice, "invalid device ordinal"),
    SHIM_ERROR(cudaErrorNoKernelImageForDevice, "no kernel image is available for execution on the device"),
    SHIM_ERROR(cudaErrorECCUncorrectable, "uncorrectable ECC error encountered"),
    SHIM_ERROR(cudaErrorUnsupportedPtxVersion, "the provided PTX was compiled with an unsupported toolchain"),
    SHIM_ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    SHIM_ERROR(cudaErrorIllegalState, "the operation cannot be performed in the present state"),
    SHIM_ERROR(cudaErrorNotReady, "device not ready"),
    SHIM_ERROR(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    SHIM_ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    SHIM_ERROR(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    SHIM_ERROR(cudaErrorContextIsDestroyed, "context is destroyed"),
    SHIM_ERROR(cudaErrorMisalignedAddress, "misaligned address"),
    SHIM_ERROR(cudaErrorLaunchFailure, "unspecified launch failure"),
    SHIM_ERROR(cudaErrorNotPermitted, "operation not permitted"),
    SHIM_ERROR(cudaErrorNotSupported, "operation not supported"),
    SHIM_ERROR(cudaErrorSystemNotReady, "system not yet initialized"),
    SHIM_ERROR(cudaErrorSystemDriverMismatch, "system has unsupported display driver / cuda driver combination"),
    SHIM_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing"),
    SHIM_ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture"),
    SHIM_ERROR(cudaErrorStreamCaptureMerge, "operation would result in a merge of separate capture sequences"),
    SHIM_ERROR(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began"),
    SHIM_ERROR(cudaErrorStreamCaptureUnjoined, "capturing stream has unjoined work"),
    SHIM_ERROR(cudaErrorStreamCaptureIsolation, "dependency created on uncaptured work in another stream"),
    SHIM_ERROR(cudaErrorStreamCaptureImplicit,
               "operation would make the legacy stream depend on a capturing blocking stream"),
    SHIM_ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a capturing stream"),
    SHIM_ERROR(cudaErrorStreamCaptureWrongThread,
               "attempt to terminate a thread-local capture sequence from another thread"),
    SHIM_ERROR(cudaErrorUnknown, "unknown error"),
};
#undef SHIM_ERROR

const ErrorText* text_of(cudaError_t error) {
  const auto* found =
      std::find_if(std::begin(kErrors), std::end(kErrors), [&](const ErrorText& e) { return e.error == error; });
  return found == std::end(kErrors) ? nullptr : found;
}

cudaError_t valid_device(int device) {
  if (const cudaError_t status = usable(); status != cudaSuccess) return status;
  if (device < 0 || device >= the_machine.device_count)
    return fail(cudaErrorInvalidDevice, fmt::format("device {} of {}", device, the_machine.device_count));
  return cudaSuccess;
}

}  // namespace

std::recursive_mutex& api_lock() {
  static std::recursive_mutex lock;
  return lock;
}

cudaError_t fail(cudaError_t error, const std::string& what) {
  last_error = error;
  details[error] = what;
  return error;
}

cudaError_t usable() {
  // A driver serves every runtime of its own major version (minor version compatibility).
  if (the_machine.driver_version / 1000 < kRuntimeVersion / 1000)
    return fail(cudaErrorInsufficientDriver,
                fmt::format("driver {}, runtime {}", the_machine.driver_version, kRuntimeVersion));
  if (the_machine.device_count == 0) return fail(cudaErrorNoDevice, "the emulated machine has none");
  return cudaSuccess;
}

int current_device() { return current; }

void configure(const Machine& machine) {
  const Guard guard(api_lock());
  the_machine = machine;
  forget_failure();
  run_in_reverse(machine.reverse_threads);
}

const Machine& machine() { return the_machine; }
size_t live_allocations() {
  const Guard guard(api_lock());
  return live_allocation_count();
}
size_t live_bytes() {
  const Guard guard(api_lock());
  return live_device_bytes();
}
size_t live_handles() {
  const Guard guard(api_lock());
  return live_streams() + live_events() + live_graphs() + live_blas_objects();
}

}  // namespace shim

inline namespace cuda_shim_api {

using shim::fail;
using shim::Guard;
using shim::the_machine;

const char* cudaGetErrorName(cudaError_t error) {
  const auto* text = shim::text_of(error);
  return text == nullptr ? "unrecognized error code" : text->name;
}

const char* cudaGetErrorString(cudaError_t error) {
  thread_local std::string result;
  const auto* text = shim::text_of(error);
  result = text == nullptr ? "unrecognized error code" : text->text;
  if (const auto found = shim::details.find(error); found != shim::details.end()) result += ": " + found->second;
  return result.c_str();
}

cudaError_t cudaGetLastError() { return std::exchange(shim::last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return shim::last_error; }

cudaError_t cudaGetDeviceCount(int* count) {
  const Guard guard(shim::api_lock());
  *count = 0;
  if (const cudaError_t status = shim::usable(); status != cudaSuccess) return status;
  *count = the_machine.device_count;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  const Guard guard(shim::api_lock());
  if (const cudaError_t status = shim::valid_device(device); status != cudaSuccess) return status;
  shim::current = device;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  const Guard guard(shim::api_lock());
  *device = shim::current;
  return shim::usable();
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Guard guard(shim::api_lock());
  if (const cudaError_t status = shim::valid_device(device); status != cudaSuccess) return status;
  cudaDeviceProp& p = *properties;
  p = {};
  std::memcpy(p.name, the_machine.name.data(), std::min(the_machine.name.size(), sizeof p.name - 1));
  p.totalGlobalMem = the_machine.total_bytes;
  p.sharedMemPerBlock = 48 << 10;
  p.regsPerBlock = p.regsPerMultiprocessor = 65536;
  p.warpSize = 32;
  p.maxThreadsPerBlock = p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
  p.maxThreadsDim[2] = 64;
  p.maxGridSize[0] = 2147483647;
  p.maxGridSize[1] = p.maxGridSize[2] = 65535;
  p.major = the_machine.major;
  p.minor = the_machine.minor;
  p.multiProcessorCount = the_machine.multiprocessors;
  p.concurrentKernels = 1;
  p.memoryBusWidth = 5120;
  p.l2CacheSize = 40 << 20;
  p.maxThreadsPerMultiProcessor = 2048;
  p.sharedMemPerMultiprocessor = the_machine.shared_bytes_optin + 1024;  // 1 KiB of a block is the system's
  p.sharedMemPerBlockOptin = the_machine.shared_bytes_optin;
  p.memoryPoolsSupported = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const Guard guard(shim::api_lock());
  cudaDeviceProp p;
  if (const cudaError_t status = cudaGetDeviceProperties(&p, device); status != cudaSuccess) return status;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = p.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = int(p.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = p.warpSize;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = p.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrIntegrated:
      *value = p.integrated;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.maxThreadsPerMultiProcessor;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = int(p.sharedMemPerMultiprocessor);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = int(p.sharedMemPerBlockOptin);
      return cudaSuccess;
    case cudaDevAttrMemoryPoolsSupported:
      *value = p.memoryPoolsSupported;
      return cudaSuccess;
  }
  return fail(cudaErrorInvalidValue, fmt::format("device attribute {} is not emulated", int(attribute)));
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = the_machine.driver_version;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = shim::kRuntimeVersion;
  return cudaSuccess;
}

}  // namespace cuda_shim_api
