#include "core/device_name.h"

#include "core/error.h"
#include "core/values.h"

namespace yopo {

int64_t gpu_number(const std::string& device) {
  if (device == "cuda") return 0;
  int64_t number = -1;
  const bool numbered = device.starts_with("cuda:") && parse_decimal(device.substr(5), number);
  return numbered && number >= 0 ? number : -1;
}

std::string device_name_fault(const std::string& device) {
  if (device == "auto" || device == "cpu" || gpu_number(device) >= 0) return "";
  // People call it by what it is; by letters "gpu" is nearer to the other one.
  const std::string meant = device == "gpu" || device == "GPU" ? "; did you mean 'cuda'?"
                            : device.starts_with("cuda:")      ? "; GPUs have numbers: cuda:0, cuda:1, ..."
                                                               : did_you_mean(device, {"auto", "cpu", "cuda"});
  return fmt::format("expected one of auto, cpu, cuda; found '{}'{}", printable(device), meant);
}

}  // namespace yopo
