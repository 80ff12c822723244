// The steps of one long call: how far it has come, and where it may be interrupted.
#pragma once

#include <cstdint>
#include <functional>

namespace yopo {

/// Counts steps (layers, in every walk through them) of the call under way and tells their share. For one thread.
class Walk {
 public:
  /// Hears after a step how far the call has come: above 0, at most 1, not descending. What it throws ends the call.
  using Listener = std::function<void(double share)>;
  explicit Walk(Listener listener = {}) : listener_(std::move(listener)) {}

  /// A call begins that will take so many steps; expect() adds what turns out later.
  void begin(int64_t steps) { done_ = 0, expected_ = steps, told_ = 0; }
  void expect(int64_t steps) { expected_ += steps; }
  /// One more step is done. Throws Interrupted once the user has asked to stop.
  void step();

 private:
  Listener listener_;
  int64_t done_ = 0, expected_ = 0;
  double told_ = 0;
};

}  // namespace yopo
