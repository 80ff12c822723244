#include "plans/budget.h"

#include "core/error.h"
#include "core/values.h"

namespace yopo {
namespace {

constexpr const char* kUnits = "a share of the visual FLOPs, as 0.25, {paper: 0.25} or {kv: 8MB}";

Budget in_unit(const std::string& unit, const YamlNode& node) {
  if (unit == "paper") return {Budget::Kind::Paper, yaml_number(node, unit, 0, 1)};
  return {Budget::Kind::Kv, double(parse_size(yaml_string(node, unit), fmt::format("{}: {}", node.place, unit)))};
}

std::string number(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

}  // namespace

std::string_view what_is_spent(Budget::Kind kind) {
  switch (kind) {
    case Budget::Kind::Flops:
      return "visual FLOPs";
    case Budget::Kind::Paper:
      return "FLOPs by the paper's formula";
    case Budget::Kind::Kv:
      return "bytes of KV cache";
  }
  throw InternalError("a budget of no kind");
}

Budget read_budget(const YamlNode& node, const std::string& name) {
  if (node.kind == YamlNode::Kind::Scalar) return {Budget::Kind::Flops, yaml_number(node, name, 0, 1)};
  require(node.kind == YamlNode::Kind::Map, "{}: {} should be {}; found {}", node.place, name, kUnits, yaml_kind(node));
  check_keys(node, "plan." + name, {"paper", "kv"});
  require(node.entries.size() == 1, "{}: {} should be {}; found {} of them", node.place, name, kUnits,
          node.entries.size());
  const Budget budget = in_unit(node.entries[0].key, node.entries[0].value);
  require(budget.value > 0, "{}: plan.{}.{}: nothing can be met with a budget of 0", node.entries[0].value.place, name,
          node.entries[0].key);
  return budget;
}

std::string budget_text(const Budget& budget) {
  switch (budget.kind) {
    case Budget::Kind::Flops:
      return number(budget.value);
    case Budget::Kind::Paper:
      return fmt::format("{{paper: {}}}", number(budget.value));
    case Budget::Kind::Kv:
      return fmt::format("{{kv: {}}}", int64_t(budget.value));
  }
  throw InternalError("a budget of no kind");
}

Json budget_json(const Budget& budget) {
  switch (budget.kind) {
    case Budget::Kind::Flops:
      return budget.value;
    case Budget::Kind::Paper:
      return Json{{"paper", budget.value}};
    case Budget::Kind::Kv:
      return Json{{"kv", int64_t(budget.value)}};
  }
  throw InternalError("a budget of no kind");
}

}  // namespace yopo
