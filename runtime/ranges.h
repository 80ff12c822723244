// Names for a profiler's time line, where the device has such a thing (Ops::begin_range).
#pragma once

#include <string>

#include "core/error.h"
#include "runtime/ops.h"

namespace yopo::runtime {

/// What is issued while it lives.
class Range {
 public:
  Range(const Ops& ops, const char* name) : ops_(ops.begin_range ? &ops : nullptr) {
    if (ops_) ops_->begin_range(name);
  }
  ~Range() {
    if (ops_) ops_->end_range();
  }
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  const Ops* ops_;
};

/// The layers of a walk, one range each: "layer 0", "layer 1", ..., and what comes behind the last. While it lives it
/// stands in `*current`, so that who walks can call next() after each layer.
class LayerRanges {
 public:
  LayerRanges(const Ops& ops, LayerRanges** current, const char* what, int64_t first, int64_t end, const char* behind)
      : ops_(ops.begin_range ? &ops : nullptr), current_(current), what_(what), at_(first), end_(end), behind_(behind) {
    if (!ops_) return;
    before_ = *current_;
    *current_ = this;
    begin();
  }
  ~LayerRanges() {
    if (!ops_) return;
    ops_->end_range();
    *current_ = before_;
  }
  LayerRanges(const LayerRanges&) = delete;
  LayerRanges& operator=(const LayerRanges&) = delete;

  void next() {
    ops_->end_range();
    ++at_;
    begin();
  }

 private:
  void begin() const { ops_->begin_range(at_ < end_ ? fmt::format("{} {}", what_, at_).c_str() : behind_); }

  const Ops* ops_;
  LayerRanges** current_;
  LayerRanges* before_ = nullptr;
  const char* what_;
  int64_t at_, end_;
  const char* behind_;
};

}  // namespace yopo::runtime
