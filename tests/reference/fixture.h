// The reference cases under tests/data/fixtures, opened for the Torch forward.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "formats/safetensors.h"
#include "models/input.h"
#include "plans/plan.h"
#include "reference/engine.h"
#include "tests/support/reference_case.h"

namespace yopo::testing {

/// A checkpoint opened once a process: tests ask for it many times.
struct LoadedModel {
  OpenModel model;
  TorchEngine engine;
};
inline const LoadedModel& loaded(const std::string& key, const std::function<OpenModel()>& open) {
  static std::map<std::string, std::unique_ptr<LoadedModel>> models;
  auto& entry = models[key];
  if (!entry) {
    OpenModel model = open();
    TorchEngine engine(model, {"fp32", 1});  // small models: threads only wait for each other
    entry = std::make_unique<LoadedModel>(LoadedModel{std::move(model), std::move(engine)});
  }
  return *entry;
}
inline const LoadedModel& loaded_model(const std::string& name) {
  return loaded(name, [&] { return open_model(fixtures() / name); });
}
/// The checkpoint of a case with the changes that the case makes to its config.
inline const LoadedModel& loaded_model(const CaseOf& of) {
  const bool changed = has(case_json(of.test), "config_overrides") && !case_json(of.test)["config_overrides"].empty();
  return loaded(changed ? of.model + " " + of.test : of.model, [&] { return open_case_model(of); });
}

/// A head mask stored as [L, H] bytes.
inline HeadMask mask_from(const TensorView& view) {
  const std::vector<int64_t> flags = view.ints();
  HeadMask mask(size_t(view.shape[0]));
  for (size_t l = 0; l < mask.size(); ++l)
    for (int64_t h = 0; h < view.shape[1]; ++h)
      mask[l].push_back(uint8_t(flags[l * size_t(view.shape[1]) + size_t(h)]));
  return mask;
}

}  // namespace yopo::testing
