#include "plans/provenance.h"

#include <algorithm>

#include "core/error.h"

namespace yopo {

namespace {

bool all_equal(const HeadFlags& flags) {
  return std::adjacent_find(flags.begin(), flags.end(), std::not_equal_to<>()) == flags.end();
}

/// Whether the plan means the same in every order of heads and neurons.
bool fits_any_order(const Plan& plan, const DecoderSpec& spec) {
  return std::all_of(plan.layers.begin(), plan.layers.end(), [&](const LayerPlan& layer) {
    const bool neurons =
        !layer.neurons || layer.neurons->empty() || int64_t(layer.neurons->size()) == spec.intermediate_size;
    return all_equal(layer.heads) && all_equal(layer.updates) && neurons;
  });
}

}  // namespace

std::string identity_part(std::string_view identity, std::string_view name) {
  while (!identity.empty()) {
    const size_t end = std::min(identity.find("; "), identity.size());
    const std::string_view part = identity.substr(0, end);
    if (part.starts_with(fmt::format("{} ", name))) return std::string(part.substr(name.size() + 1));
    identity.remove_prefix(std::min(end + 2, identity.size()));
  }
  return "";
}

std::string checkpoint_of(const Plan& plan) {
  if (!has(plan.provenance, "statistics") || !plan.provenance["statistics"].is_string()) return "";
  return identity_part(plan.provenance["statistics"].get<std::string>(), "checkpoint");
}

void check_made_for(const Plan& plan, const Checkpoint& checkpoint, const DecoderSpec& spec, const std::string& where) {
  const bool exported = has(checkpoint.config(), "yopo");
  const std::string made_on = checkpoint_of(plan);
  if (fits_any_order(plan, spec) || (made_on.empty() && !exported)) return;
  const std::string here = checkpoint.fingerprint(), folder = checkpoint.folder().string();
  if (made_on == here) return;
  require(!exported,
          "{}: a plan refers to the original's order of heads and neurons, and {} is an export, its layers reordered: "
          "run the original under this plan",
          where, folder);
  fail(
      "{}: the plan is of the statistics of another checkpoint than {} (fingerprint there: {}; here: {}); calibrate "
      "and plan on this one",
      where, folder, printable(made_on), here);
}

}  // namespace yopo
