// Plans for several budgets that one order of heads and neurons serves: an elastic checkpoint.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "plans/budget.h"
#include "plans/order.h"
#include "plans/plan.h"

namespace yopo {

inline constexpr size_t most_budgets = 64;

/// How files and flags call a budget: "0.25", the shortest text that reads back as the number.
std::string budget_name(double budget);
/// The same; "" of a budget that is no share of the exact visual FLOPs.
std::string budget_name(const Budget& budget);
/// The name of a number above 0 and at most 1, however it is written ("0.250"). UserError naming `where`.
std::string parse_budget(std::string_view text, const std::string& where);
/// The same where it must be written as its name is.
std::string exact_budget(const std::string& text, const std::string& where);
/// The larger budget first.
bool larger_budget(const std::string& a, const std::string& b);
/// The one of `names` that `asked` means. UserError naming `where` and those that are there.
std::string pick_budget(const std::vector<std::string>& names, const std::string& asked, const std::string& where);

struct BudgetPlan {
  std::string budget;
  Plan plan;
};
std::vector<std::string> names_of(const std::vector<BudgetPlan>& plans);
/// The budget that the plan was searched for; "" where its provenance does not say.
std::string budget_of(const Plan& plan);

/// The order of one layer under several plans: KV groups by how many of the plans keep any of their heads, then by how
/// often their heads are updated, then kept; heads inside each group by how many plans keep, then update them; neurons
/// by how many plans use them. Stable: ties keep their old order.
LayerOrder order_of(const std::vector<const LayerPlan*>& layers, const DecoderSpec& spec);
/// An order [L] in which the KV heads and the neurons that each of the plans keeps come first. UserError naming
/// `where`, the layer and two budgets where neither set holds the other.
std::vector<LayerOrder> common_orders(const std::vector<BudgetPlan>& plans, const DecoderSpec& spec,
                                      const std::string& where);

}  // namespace yopo
