// The reference cases under tests/data/fixtures, opened for the Torch forward.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "compress/plan.h"
#include "core/safetensors.h"
#include "models/input.h"
#include "models/torch_engine.h"

namespace yopo::testing {

inline fs::path fixtures() { return fs::path(YOPO_TEST_DATA) / "fixtures"; }

/// One model opened once a process: tests ask for it many times.
struct LoadedModel {
  OpenModel model;
  TorchEngine engine;
};
inline const LoadedModel& loaded_model(const std::string& name) {
  static std::map<std::string, std::unique_ptr<LoadedModel>> models;
  auto& entry = models[name];
  if (!entry) {
    OpenModel model = open_model(fixtures() / name);
    TorchEngine engine(model, {"fp32", 1});  // small models: threads only wait for each other
    entry = std::make_unique<LoadedModel>(LoadedModel{std::move(model), std::move(engine)});
  }
  return *entry;
}

/// The spans of a case.json: [[start, rows, columns], ...].
inline std::vector<Span> spans_of(const Json& info) {
  std::vector<Span> spans;
  for (const Json& span : info.at("spans")) spans.push_back({span[0], span[1], span[2]});
  return spans;
}

/// One sample of a case from its token ids and pixels.
inline ModelInput input_from_pixels(const ModelSpec& spec, const SafetensorsFile& inputs,
                                    const std::string& prefix = "") {
  const TensorView& pixels = inputs.at(prefix + "pixel_values");
  return make_input(spec, inputs.at(prefix + "input_ids").ints(), pixels.floats(), pixels.shape[0], prefix);
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
