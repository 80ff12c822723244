// What a plan's layers cost in the unit that a budget is given in.
#pragma once

#include <memory>

#include "plans/budget.h"
#include "plans/cost.h"
#include "plans/times.h"

namespace yopo {

struct CostModel {
  Budget::Kind kind = Budget::Kind::Flops;
  int64_t kv_element = 2;                       // bytes of an element of the KV cache
  std::shared_ptr<const TimeTable> times = {};  // of a budget of milliseconds
};

/// One layer's prefill of a prompt, text included (of the paper's formula, which does not know of text, without).
double layer_price(const CostModel& model, const LayerPlan& layer, const DecoderSpec& spec, const PromptShape& prompt);
}  // namespace yopo
