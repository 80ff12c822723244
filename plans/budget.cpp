#include "plans/budget.h"

#include "core/error.h"

namespace yopo {
namespace {

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
    case Budget::Kind::Time:
      return "ms of prefill";
  }
  throw InternalError("a budget of no kind");
}

std::string budget_text(const Budget& budget) {
  switch (budget.kind) {
    case Budget::Kind::Flops:
      return number(budget.value);
    case Budget::Kind::Paper:
      return fmt::format("{{paper: {}}}", number(budget.value));
    case Budget::Kind::Kv:
      return fmt::format("{{kv: {}}}", int64_t(budget.value));
    case Budget::Kind::Time:
      return fmt::format("{{ms: {}}}", number(budget.value));
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
    case Budget::Kind::Time:
      return Json{{"ms", budget.value}};
  }
  throw InternalError("a budget of no kind");
}

}  // namespace yopo
