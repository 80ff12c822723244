#include "evaluation/compare.h"

#include <algorithm>

#include "core/progress.h"
#include "plans/cost.h"

namespace yopo {

namespace {

double median(std::vector<double> values) {
  ensure(!values.empty(), "a median needs values");
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// Seconds of one prefill and of `tokens` decode steps; the KV bytes after the prefill.
struct Timed {
  double prefill = 0, decode = 0, kv_bytes = 0;
};
Timed time_once(const runtime::Engine& engine, const ModelInput& input, int64_t tokens) {
  runtime::Counters& counters = engine.counters();
  counters = {};
  const auto session = engine.prefill({input}, tokens);
  Timed timed{counters.prefill_seconds, 0, double(counters.kv_bytes)};
  for (int64_t step = 0; step < tokens; ++step) engine.decode(*session, {0}, {engine.spec().bos_token_id});
  timed.decode = counters.decode_seconds;
  return timed;
}

}  // namespace

Comparison compare(const runtime::Engine& dense, const runtime::Engine& pruned, const std::vector<ModelInput>& inputs,
                   int64_t rounds, int64_t decode_tokens) {
  require(!inputs.empty(), "compare: no samples");
  const DecoderSpec& spec = dense.spec().text;
  const Plan whole = dense_plan(spec);
  Comparison result;
  result.samples = int64_t(inputs.size());
  double paper_dense = 0, paper_pruned = 0;
  std::vector<double> prefill[2], decode[2];
  const runtime::Engine* engines[2] = {&dense, &pruned};
  Comparison::Side* sides[2] = {&result.dense, &result.pruned};
  const Plan* plans[2] = {&whole, &pruned.plan()};
  Progress progress("timing dense against pruned", result.samples, "samples");
  for (const ModelInput& input : inputs) {
    const PromptShape shape = shape_of(input);
    paper_dense += paper_flops(whole, spec, shape);
    paper_pruned += paper_flops(*plans[1], spec, shape);
    std::vector<double> rounds_prefill[2], rounds_decode[2];
    for (int64_t round = 0; round <= rounds; ++round)
      for (int side = 0; side < 2; ++side) {
        const Timed timed = time_once(*engines[side], input, decode_tokens);
        if (round == 0) {  // the warm-up counts nothing but bytes
          sides[side]->kv_bytes += timed.kv_bytes / double(result.samples);
          continue;
        }
        rounds_prefill[side].push_back(timed.prefill * 1e3);
        rounds_decode[side].push_back(timed.decode * 1e3 / double(std::max<int64_t>(1, decode_tokens)));
      }
    for (int side = 0; side < 2; ++side) {
      prefill[side].push_back(median(rounds_prefill[side]));
      decode[side].push_back(median(rounds_decode[side]));
      sides[side]->visual_flops += visual_cost(*plans[side], spec, shape).flops() / double(result.samples);
      sides[side]->prefill_flops += prefill_cost(*plans[side], spec, shape).flops() / double(result.samples);
    }
    progress.tick();
  }
  progress.finish();
  for (int side = 0; side < 2; ++side) {
    sides[side]->prefill_ms = median(prefill[side]);
    sides[side]->decode_ms = median(decode[side]);
  }
  result.paper_fraction = paper_dense > 0 ? paper_pruned / paper_dense : 0;
  result.exact_fraction = result.dense.visual_flops > 0 ? result.pruned.visual_flops / result.dense.visual_flops : 0;
  result.exact_total_fraction = result.pruned.prefill_flops / result.dense.prefill_flops;
  return result;
}

Json comparison_to_json(const Comparison& comparison) {
  const auto side = [](const Comparison::Side& s) {
    return Json{{"visual_flops", s.visual_flops},
                {"prefill_flops", s.prefill_flops},
                {"kv_bytes", s.kv_bytes},
                {"prefill_ms", s.prefill_ms},
                {"decode_ms", s.decode_ms}};
  };
  return {{"samples", comparison.samples},
          {"visual_flops_fraction", {{"paper", comparison.paper_fraction}, {"exact", comparison.exact_fraction}}},
          {"prefill_flops_fraction", comparison.exact_total_fraction},
          {"dense", side(comparison.dense)},
          {"pruned", side(comparison.pruned)}};
}

Comparison comparison_from_json(const Json& json, const std::string& where) {
  require(json.is_object(), "{}: expected an object, found {}", where, json.type_name());
  const auto side = [&](const char* name) {
    const Json& from = get_object(json, name, where);
    const auto number = [&](const char* key) { return get_number(from, key, where + ": " + name); };
    return Comparison::Side{number("visual_flops"), number("prefill_flops"), number("kv_bytes"), number("prefill_ms"),
                            number("decode_ms")};
  };
  Comparison comparison;
  comparison.samples = get_int(json, "samples", where, 1, int64_t(1) << 40);
  const Json& visual = get_object(json, "visual_flops_fraction", where);
  comparison.paper_fraction = get_number(visual, "paper", where);
  comparison.exact_fraction = get_number(visual, "exact", where);
  comparison.exact_total_fraction = get_number(json, "prefill_flops_fraction", where);
  comparison.dense = side("dense");
  comparison.pruned = side("pruned");
  return comparison;
}

}  // namespace yopo
