// Stands in for the CUDA toolkit's header: device code and the CUDA runtime on the host's processor. The folder above
// holds the implementation; launch.h how kernels are launched, machine.h what the emulated device is.
#pragma once

#include "cuda_runtime_api.h"
#include "shim_atomics.h"
#include "shim_device.h"
#include "shim_math.h"
#include "vector_types.h"
