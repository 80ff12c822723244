// What the emulated machine is, and what a test may ask about it.
#pragma once

#include <cstddef>
#include <string>

namespace shim {

struct Machine {
  int device_count = 1;
  int major = 8, minor = 0;    // compute capability
  int driver_version = 13000;  // the newest CUDA that the driver knows; 0: no driver
  size_t total_bytes = size_t(8) << 30;
  std::string name = "Emulated GPU";
  int multiprocessors = 108;
  size_t shared_bytes_optin = 163 << 10;  // the most that a block can ask for
  bool reverse_threads = false;           // a block's threads run from the last to the first: what changes is a race
  bool failures_as_status = false;        // a failed kernel is a status of who waits for it, as on a device, not thrown
};

/// Changes the machine from now on; a failure that nobody has been told of is forgotten. Memory and streams stay.
void configure(const Machine& machine);
const Machine& machine();

/// Device and pinned allocations that have not been freed. Frees in a stream count when they have run.
size_t live_allocations();
/// Bytes of device memory in use.
size_t live_bytes();
/// Streams, events, graphs and cuBLASLt objects that have not been destroyed.
size_t live_handles();
/// Kernels that have been run since the program began; products of cuBLASLt are not kernels.
unsigned long long launches();

}  // namespace shim
