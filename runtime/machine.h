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

/// Takes about a second; the best of several tries, as other work on the machine only ever slows it down.
MachineRates measure_machine(DType type, const Ops& ops);

/// As the operating system calls it; "unknown" where it does not say.
std::string cpu_name();

}  // namespace yopo::runtime
