// The device that a test program is about: the same tests run on the CPU, on the CUDA backend over the host shim, and
// on a GPU.
#pragma once

#include <string>

#include "runtime/engine.h"
#include "runtime/ops.h"

namespace yopo::testing {

const runtime::Ops& tested_ops();
/// Options of an engine on it.
runtime::Options on_device(const std::string& dtype = "fp32");
/// A head_dim that no kernel is made for especially: 10 on the CPU; GPU kernels read heads in groups of 8 elements.
int64_t odd_head_dim();
/// Whether the device is the host shim, which is slow.
bool emulated();
/// Bytes in use of everything that could leak: the heap's on the CPU, the device's allocations on CUDA.
int64_t bytes_in_use();

}  // namespace yopo::testing
