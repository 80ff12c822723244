#include "runtime/device.h"

#include "core/device_name.h"
#include "core/error.h"
#include "runtime/engine.h"
#if defined(YOPO_HAS_CUDA)
#include "runtime/cuda/ops.h"
#endif

namespace yopo::runtime {

bool device_available(const std::string& device, std::string* why) {
  if (device == "cpu") return true;
  std::string reason = device == "auto" ? "it is a choice, no device" : device_name_fault(device);
  if (reason.empty()) {
#if defined(YOPO_HAS_CUDA)
    if (cuda::usable(&reason, gpu_number(device))) return true;
#else
    reason = "this build has no CUDA backend (there was no GPU when it was configured; YOPO_CUDA=ON asks for it)";
#endif
  }
  if (why) *why = reason;
  return false;
}

const Ops& device_ops(const std::string& device) {
  std::string why;
  require(device_available(device, &why), "device '{}': {}", printable(device), why);
#if defined(YOPO_HAS_CUDA)
  if (device != "cpu") return cuda::cuda_ops(gpu_number(device));
#endif
  return cpu_ops();
}

const Ops& device_ops(const Options& options) { return options.ops ? *options.ops : device_ops(options.device); }

}  // namespace yopo::runtime
