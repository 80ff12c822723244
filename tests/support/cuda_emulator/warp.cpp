// What the lanes of a warp do together.
#include "shim_device.h"

namespace shim {

namespace {

struct Exchange {
  uint64_t value;
  unsigned source;
  uint64_t result;
};
void complete_exchange(void* const* lanes) {
  for (unsigned i = 0; i < 32; ++i) {
    if (lanes[i] == nullptr) continue;
    Exchange& mine = *static_cast<Exchange*>(lanes[i]);
    const void* theirs = lanes[mine.source];
    mine.result = theirs == nullptr ? ~uint64_t(0) : static_cast<const Exchange*>(theirs)->value;
  }
}

struct Vote {
  bool predicate;
  unsigned result;
};
void complete_vote(void* const* lanes) {
  unsigned result = 0;
  for (unsigned i = 0; i < 32; ++i)
    if (lanes[i] != nullptr && static_cast<const Vote*>(lanes[i])->predicate) result |= 1u << i;
  for (unsigned i = 0; i < 32; ++i)
    if (lanes[i] != nullptr) static_cast<Vote*>(lanes[i])->result = result;
}

constexpr Collective kShuffles[] = {{"__shfl_sync", complete_exchange},
                                    {"__shfl_up_sync", complete_exchange},
                                    {"__shfl_down_sync", complete_exchange},
                                    {"__shfl_xor_sync", complete_exchange}};
constexpr Collective kVote = {"a vote", complete_vote};
constexpr Collective kSyncWarp = {"__syncwarp", [](void* const*) {}};

}  // namespace

unsigned shuffle_source(ShuffleKind kind, unsigned operand, int width) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0)
    device_error("a shuffle's width is not a power of two up to 32");
  const unsigned self = lane(), size = unsigned(width), first = self / size * size;
  switch (kind) {
    case ShuffleKind::index:
      return first + operand % size;
    case ShuffleKind::up:
      return operand > self - first ? self : self - operand;
    case ShuffleKind::down:
      return operand >= size - (self - first) ? self : self + operand;
    case ShuffleKind::exclusive:
      break;
  }
  const unsigned source = self ^ (operand % 32);
  return source >= first + size ? self : source;  // lower segments can be read, higher ones cannot
}

uint64_t exchange(ShuffleKind kind, unsigned mask, uint64_t value, unsigned source) {
  Exchange mine = {value, source, 0};
  meet(kShuffles[size_t(kind)], mask, &mine);
  return mine.result;
}

unsigned ballot(unsigned mask, bool predicate) {
  Vote mine = {predicate, 0};
  meet(kVote, mask, &mine);
  return mine.result;
}

}  // namespace shim

inline namespace cuda_shim_api {

void __syncwarp(unsigned mask) { shim::meet(shim::kSyncWarp, mask, &mask); }

}  // namespace cuda_shim_api
