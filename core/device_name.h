// What devices are called: auto, cpu, cuda, cuda:N.
#pragma once

#include <cstdint>
#include <string>

namespace yopo {

/// The number in "cuda" (0) or "cuda:N"; -1 for any other name.
int64_t gpu_number(const std::string& device);

/// What is wrong with a device's name, whatever this machine has; "" for nothing.
std::string device_name_fault(const std::string& device);

}  // namespace yopo
