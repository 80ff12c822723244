#include "core/error.h"
#include "core/values.h"
#include "plans/budget.h"

namespace yopo {
namespace {

constexpr const char* kUnits = "a share of the visual FLOPs, as 0.25, {paper: 0.25}, {kv: 8MB} or {ms: 120}";

Budget in_unit(const std::string& unit, const YamlNode& node) {
  if (unit == "paper") return {Budget::Kind::Paper, yaml_number(node, unit, 0, 1)};
  if (unit == "ms") return {Budget::Kind::Time, yaml_number(node, unit, 0, 1e9)};
  return {Budget::Kind::Kv, double(parse_size(yaml_string(node, unit), fmt::format("{}: {}", node.place, unit)))};
}

}  // namespace

Budget read_budget(const YamlNode& node, const std::string& name) {
  if (node.kind == YamlNode::Kind::Scalar) return {Budget::Kind::Flops, yaml_number(node, name, 0, 1)};
  require(node.kind == YamlNode::Kind::Map, "{}: {} should be {}; found {}", node.place, name, kUnits, yaml_kind(node));
  check_keys(node, "plan." + name, {"paper", "kv", "ms"});
  require(node.entries.size() == 1, "{}: {} should be {}; found {} of them", node.place, name, kUnits,
          node.entries.size());
  const Budget budget = in_unit(node.entries[0].key, node.entries[0].value);
  require(budget.value > 0, "{}: plan.{}.{}: nothing can be met with a budget of 0", node.entries[0].value.place, name,
          node.entries[0].key);
  return budget;
}

}  // namespace yopo
