#include "runtime/device.h"

#include "core/error.h"
#include "core/values.h"
#include "runtime/engine.h"
#if defined(YOPO_HAS_CUDA)
#include "runtime/cuda/ops.h"
#endif

namespace yopo::runtime {
namespace {

/// The number in "cuda" (0) or "cuda:N"; -1 for any other name.
int64_t gpu_of(const std::string& device) {
  if (device == "cuda") return 0;
  int64_t index = -1;
  const bool numbered = device.starts_with("cuda:") && parse_decimal(device.substr(5), index);
  return numbered && index >= 0 ? index : -1;
}

}  // namespace

std::string device_name_fault(const std::string& device) {
  if (device == "auto" || device == "cpu" || gpu_of(device) >= 0) return "";
  // People call it by what it is; by letters "gpu" is nearer to the other one.
  const std::string meant = device == "gpu" || device == "GPU" ? "; did you mean 'cuda'?"
                            : device.starts_with("cuda:")      ? "; GPUs have numbers: cuda:0, cuda:1, ..."
                                                               : did_you_mean(device, {"auto", "cpu", "cuda"});
  return fmt::format("expected one of auto, cpu, cuda; found '{}'{}", printable(device), meant);
}

bool device_available(const std::string& device, std::string* why) {
  if (device == "cpu") return true;
  std::string reason = device == "auto" ? "it is a choice, no device" : device_name_fault(device);
  if (reason.empty()) {
#if defined(YOPO_HAS_CUDA)
    if (cuda::usable(&reason, gpu_of(device))) return true;
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
  if (device != "cpu") return cuda::cuda_ops(gpu_of(device));
#endif
  return cpu_ops();
}

const Ops& device_ops(const Options& options) { return options.ops ? *options.ops : device_ops(options.device); }

}  // namespace yopo::runtime
