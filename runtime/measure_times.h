// Measures on this machine what a decoder layer's work takes: `yopo bench --table` and searches for a budget of
// milliseconds.
#pragma once

#include "plans/times.h"
#include "runtime/engine.h"

namespace yopo::runtime {

/// For prompts of up to `visual` visual tokens and `text` text tokens (the largest of each that will be asked about).
/// A minute or two at 7B sizes; whole layers are measured on random weights. Products are measured in the form that an
/// engine of these options holds weights in.
TimeTable measure_times(const ModelSpec& model, int64_t visual, int64_t text, const Options& options);

}  // namespace yopo::runtime
