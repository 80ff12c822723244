// Devices by name.
#pragma once

#include <string>

#include "runtime/ops.h"

namespace yopo::runtime {

/// The operations of `cpu`, `cuda` or `cuda:N`, the GPU number N of those that CUDA lists, from 0; `cuda` is the first.
/// UserError for another name, for a device that this machine or build does not have (what is needed and what is
/// there), and for a second GPU in one process.
const Ops& device_ops(const std::string& device);

/// The operations that an engine of these options runs on: their own, or those of their device.
struct Options;
const Ops& device_ops(const Options& options);

/// Whether this machine can run the device; if not, why (for messages).
bool device_available(const std::string& device, std::string* why);

}  // namespace yopo::runtime
