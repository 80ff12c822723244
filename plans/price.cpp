#include "plans/price.h"

#include "core/error.h"

namespace yopo {

double layer_price(const CostModel& model, const LayerPlan& layer, const DecoderSpec& spec, const PromptShape& prompt) {
  const auto alone = [&] {
    Plan plan;
    plan.layers.push_back(layer);
    return plan;
  };
  switch (model.kind) {
    case Budget::Kind::Flops:
      return layer_prefill_cost(layer, spec, prompt).macs();
    case Budget::Kind::Paper:
      return paper_flops(alone(), spec, prompt);
    case Budget::Kind::Time:
      ensure(model.times != nullptr, "a budget of milliseconds comes with measured times");
      return layer_time(*model.times, layer, spec, prompt);
    case Budget::Kind::Kv:
      return double(kv_bytes(alone(), spec, prompt, 0, model.kv_element));
  }
  throw InternalError("a budget of no kind");
}

}  // namespace yopo
