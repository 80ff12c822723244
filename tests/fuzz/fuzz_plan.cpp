// Any text as plan.json: either a UserError, or a plan that is written and read back as it is, and that a model refuses
// or takes.
#include <cstdlib>

#include "plans/plan.h"
#include "tests/fuzz/fuzz_files.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace yopo;
  DecoderSpec spec;
  spec.num_hidden_layers = 2, spec.num_attention_heads = spec.num_key_value_heads = 4;
  spec.hidden_size = 8, spec.head_dim = 2, spec.intermediate_size = 6;
  fuzz::refused_or([&] {
    const Plan plan = plan_from_json(parse_json(fuzz::text_of(data, size), "fuzz.json"), "fuzz.json");
    const Json json = plan_to_json(plan);
    try {
      if (!(plan_from_json(json, "again") == plan)) std::abort();
    } catch (const UserError&) {
      std::abort();  // our own text must parse
    }
    check_plan(plan, spec, "fuzz.json");
    for (const LayerPlan& layer : plan.layers) layer_counts(layer, spec);
  });
  return 0;
}
