// What the machine can do at best, measured: the two rates of a roofline.
#pragma once

#include <string>

#include "core/dtype.h"
#include "runtime/ops.h"

namespace yopo::runtime {

struct MachineRates {
  double flops = 0;  // FLOP/s of a large square matrix product
  double bytes = 0;  // bytes/s of reading memory larger than any cache
};

/// What is measured on: large enough that a device is busy with it.
struct MachineSizes {
  int64_t side = 0;       // of the square matrices
  size_t copy_bytes = 0;  // of a copy within the device, which reads and writes them; unused on the CPU
};
MachineSizes sizes_for(const Ops& ops);

/// Takes about a second; the best of several tries, as other work on the machine only ever slows it down.
MachineRates measure_machine(DType type, const Ops& ops, const MachineSizes& sizes);
inline MachineRates measure_machine(DType type, const Ops& ops) { return measure_machine(type, ops, sizes_for(ops)); }

/// As the operating system calls it; "unknown" where it does not say.
std::string cpu_name();

}  // namespace yopo::runtime
