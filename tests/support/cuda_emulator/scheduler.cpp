#include "tests/support/cuda_emulator/scheduler.h"

#include <map>

#include "core/error.h"

namespace shim {

void Block::begin(const std::function<void()>& thread_, const LaunchShape& shape_, unsigned long long launch_,
                  unsigned char* shared_) {
  thread = &thread_;
  shape = shape_;
  launch = launch_;
  shared = shared_;
  count = shape.block.x * shape.block.y * shape.block.z;
  coordinates.clear();
  for (unsigned z = 0; z < shape.block.z; ++z)
    for (unsigned y = 0; y < shape.block.y; ++y)
      for (unsigned x = 0; x < shape.block.x; ++x) coordinates.push_back({x, y, z});
}

void Block::reset() {
  started = 0;
  living = count;
  threads.assign(count, Thread{});
  warps.resize((count + 31) / 32);
  for (size_t w = 0; w < warps.size(); ++w) {
    const unsigned lanes = std::min(32u, count - unsigned(w) * 32);
    warps[w].living = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    warps[w].meetings.clear();
  }
  ready.clear();
  failure = nullptr;
  at_barrier = 0;
}

void Block::wake(unsigned index) {
  threads[index].state = ThreadState::woken;
  ready.push_back(index);
}

template <typename Waits>
void Block::wake_all(unsigned first, unsigned size, const Waits& waits) {
  for (unsigned n = 0; n < size; ++n)
    if (const unsigned i = first + (reverse ? size - 1 - n : n); waits(i)) wake(i);
}

void Block::wait(const Collective* collective, unsigned mask) {
  Thread& thread = threads[current];
  thread.state = ThreadState::waiting;
  thread.collective = collective;
  thread.mask = mask;
}

bool Block::arrive(BlockSync kind, int predicate, const std::source_location& where) {
  if (at_barrier == 0) {
    sync_kind = kind;
    sync_where = where;
    sync_count = 0;
  } else if (kind != sync_kind || where.line() != sync_where.line() || where.column() != sync_where.column() ||
             std::string_view(where.file_name()) != sync_where.file_name()) {
    // Defined on no device: a barrier in conditional code must be reached by all threads of the block or by none.
    device_error(fmt::format("comes to the barrier at {}:{} while others wait at the one at {}:{}", where.file_name(),
                             where.line(), sync_where.file_name(), sync_where.line())
                     .c_str());
  }
  ++at_barrier;
  sync_count += predicate != 0;
  if (at_barrier == living) {
    open_barrier();
    return true;
  }
  wait(nullptr, 0);
  return false;
}

void Block::open_barrier() {
  switch (sync_kind) {
    case BlockSync::plain:
      sync_result = 0;
      break;
    case BlockSync::any:
      sync_result = sync_count > 0;
      break;
    case BlockSync::all:
      sync_result = sync_count == int(at_barrier);
      break;
    case BlockSync::count:
      sync_result = sync_count;
      break;
  }
  at_barrier = 0;
  wake_all(0, count,
           [&](unsigned i) { return threads[i].state == ThreadState::waiting && threads[i].collective == nullptr; });
}

bool Block::arrive(const Collective& collective, unsigned mask, void* argument) {
  Warp& warp = warps[current / 32];
  size_t at = 0;
  while (at < warp.meetings.size() && (warp.meetings[at].collective != &collective || warp.meetings[at].mask != mask))
    ++at;
  if (at == warp.meetings.size()) warp.meetings.push_back({&collective, mask, 0, {}});
  Meeting& meeting = warp.meetings[at];
  meeting.arrived |= 1u << current % 32;
  meeting.arguments[current % 32] = argument;
  if (complete(current / 32, at, current)) return true;
  wait(&collective, mask);
  return false;
}

bool Block::complete(unsigned index, size_t at, unsigned except) {
  Warp& warp = warps[index];
  if (warp.meetings[at].arrived != (warp.meetings[at].mask & warp.living)) return false;
  const Meeting meeting = warp.meetings[at];
  warp.meetings.erase(warp.meetings.begin() + ptrdiff_t(at));
  meeting.collective->complete(meeting.arguments.data());
  wake_all(index * 32, 32, [&](unsigned i) { return (meeting.arrived >> i % 32 & 1) != 0 && i != except; });
  return true;
}

void Block::on_return(unsigned index) {
  --living;
  Warp& warp = warps[index / 32];
  warp.living &= ~(1u << index % 32);
  if (at_barrier > 0 && at_barrier == living) open_barrier();
  for (size_t at = 0; at < warp.meetings.size();)
    if (!complete(index / 32, at, index)) ++at;
}

std::string Block::launch_name() const {
  return fmt::format("kernel launch {} <<<({}, {}, {}), ({}, {}, {}), {}>>>", launch, shape.grid.x, shape.grid.y,
                     shape.grid.z, shape.block.x, shape.block.y, shape.block.z, shape.shared_bytes);
}

std::string Block::deadlock() const {
  std::map<std::string, std::string> waiting;  // what for, threads as ranges
  for (unsigned i = 0; i < count;) {
    const Thread& thread = threads[i];
    unsigned end = i + 1;
    while (end < count && threads[end].state == thread.state && threads[end].collective == thread.collective &&
           threads[end].mask == thread.mask)
      ++end;
    if (thread.state == ThreadState::waiting) {
      const std::string what = thread.collective == nullptr
                                   ? fmt::format("the barrier at {}:{}", sync_where.file_name(), sync_where.line())
                                   : fmt::format("{} with mask {:#010x}", thread.collective->name, thread.mask);
      std::string& list = waiting[what];
      if (!list.empty()) list += ", ";
      list += end - i == 1 ? fmt::format("{}", i) : fmt::format("{}-{}", i, end - 1);
    }
    i = end;
  }
  std::string text = fmt::format("deadlock in {}, block ({}, {}, {}):", launch_name(), position.block.x,
                                 position.block.y, position.block.z);
  for (const auto& [what, list] : waiting) text += fmt::format(" threads {} wait at {};", list, what);
  return text + fmt::format(" {} of {} threads have returned", count - living, count);
}

}  // namespace shim
