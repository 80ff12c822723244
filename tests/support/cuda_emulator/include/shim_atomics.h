// Atomic functions. Blocks and threads run one at a time, so plain reads and writes are atomic.
#pragma once

inline namespace cuda_shim_api {

#define SHIM_ATOMIC(name, type, expression)     \
  inline type name(type* address, type value) { \
    const type old = *address;                  \
    *address = expression;                      \
    return old;                                 \
  }
SHIM_ATOMIC(atomicAdd, int, int(unsigned(old) + unsigned(value)))
SHIM_ATOMIC(atomicAdd, unsigned, old + value)
SHIM_ATOMIC(atomicAdd, unsigned long long, old + value)
SHIM_ATOMIC(atomicAdd, float, old + value)
SHIM_ATOMIC(atomicAdd, double, old + value)
SHIM_ATOMIC(atomicSub, int, int(unsigned(old) - unsigned(value)))
SHIM_ATOMIC(atomicSub, unsigned, old - value)
SHIM_ATOMIC(atomicMax, int, old > value ? old : value)
SHIM_ATOMIC(atomicMax, unsigned, old > value ? old : value)
SHIM_ATOMIC(atomicMax, long long, old > value ? old : value)
SHIM_ATOMIC(atomicMax, unsigned long long, old > value ? old : value)
SHIM_ATOMIC(atomicMin, int, old < value ? old : value)
SHIM_ATOMIC(atomicMin, unsigned, old < value ? old : value)
SHIM_ATOMIC(atomicMin, long long, old < value ? old : value)
SHIM_ATOMIC(atomicMin, unsigned long long, old < value ? old : value)
SHIM_ATOMIC(atomicExch, int, value)
SHIM_ATOMIC(atomicExch, unsigned, value)
SHIM_ATOMIC(atomicExch, unsigned long long, value)
SHIM_ATOMIC(atomicExch, float, value)
SHIM_ATOMIC(atomicAnd, int, old& value)
SHIM_ATOMIC(atomicAnd, unsigned, old& value)
SHIM_ATOMIC(atomicAnd, unsigned long long, old& value)
SHIM_ATOMIC(atomicOr, int, old | value)
SHIM_ATOMIC(atomicOr, unsigned, old | value)
SHIM_ATOMIC(atomicOr, unsigned long long, old | value)
SHIM_ATOMIC(atomicXor, int, old ^ value)
SHIM_ATOMIC(atomicXor, unsigned, old ^ value)
SHIM_ATOMIC(atomicXor, unsigned long long, old ^ value)
#undef SHIM_ATOMIC

#define SHIM_ATOMIC_CAS(type)                                      \
  inline type atomicCAS(type* address, type compare, type value) { \
    const type old = *address;                                     \
    if (old == compare) *address = value;                          \
    return old;                                                    \
  }
SHIM_ATOMIC_CAS(int)
SHIM_ATOMIC_CAS(unsigned)
SHIM_ATOMIC_CAS(unsigned short)
SHIM_ATOMIC_CAS(unsigned long long)
#undef SHIM_ATOMIC_CAS

}  // namespace cuda_shim_api
