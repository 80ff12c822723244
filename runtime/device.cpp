#include "runtime/device.h"

#include "core/error.h"
#include "runtime/engine.h"
#if defined(YOPO_HAS_CUDA)
#include "runtime/cuda/ops.h"
#endif

namespace yopo::runtime {

bool device_available(const std::string& device, std::string* why) {
  if (device == "cpu") return true;
  std::string reason;
  if (device == "cuda") {
#if defined(YOPO_HAS_CUDA)
    if (cuda::usable(&reason)) return true;
#else
    reason = "this build has no CUDA backend (there was no GPU when it was configured; YOPO_CUDA=ON asks for it)";
#endif
  } else {
    // People call it by what it is; by letters "gpu" is nearer to the other one.
    const std::string meant =
        device == "gpu" || device == "GPU" ? "; did you mean 'cuda'?" : did_you_mean(device, {"auto", "cpu", "cuda"});
    reason = "expected auto, cpu or cuda" + meant;
  }
  if (why) *why = reason;
  return false;
}

const Ops& device_ops(const std::string& device) {
  std::string why;
  require(device_available(device, &why), "device '{}': {}", device, why);
#if defined(YOPO_HAS_CUDA)
  if (device == "cuda") return cuda::cuda_ops();
#endif
  return cpu_ops();
}

const Ops& device_ops(const Options& options) { return options.ops ? *options.ops : device_ops(options.device); }

}  // namespace yopo::runtime
