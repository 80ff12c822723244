// What a plan may spend, as recipes say it.
#pragma once

#include <string>

#include "core/json.h"
#include "core/yaml.h"

namespace yopo {

struct Budget {
  enum class Kind {
    Flops,  // a share of the dense model's exact visual FLOPs
    Paper,  // a share of the dense model's FLOPs by the paper's formula
    Kv,     // bytes of a prompt's KV cache, text included
    Time,   // milliseconds of a prompt's prefill alone, text included
  };
  Kind kind = Kind::Flops;
  double value = 0;
  bool operator==(const Budget&) const = default;
};

/// Mean over the calibration prompts of what one costs, in words: "visual FLOPs", "bytes of KV cache", "ms of prefill".
std::string_view what_is_spent(Budget::Kind kind);
/// 0.25, or a map of one key: {paper: 0.25}, {kv: 8MB} or {ms: 120}. UserError at the node's place; `name` is
/// what messages call it ("budget").
Budget read_budget(const YamlNode& node, const std::string& name);
/// As recipes say it; reads back as the same budget.
std::string budget_text(const Budget& budget);
Json budget_json(const Budget& budget);

}  // namespace yopo
