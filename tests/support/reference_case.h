// The reference cases under tests/data/fixtures: which there are, their models and their inputs.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"
#include "formats/safetensors.h"
#include "models/anyres.h"
#include "models/input.h"
#include "models/spec.h"
#include "tests/support/temporary.h"
#include "tests/support/test_data.h"

namespace yopo::testing {

inline fs::path fixtures() { return test_data() / "fixtures"; }

/// A case on one of its family's checkpoints.
struct CaseOf {
  std::string model;  // "llava_hf/model"
  std::string test;   // "llava_hf/cases/single"
};

/// Every case of every family but the padded batches, on every checkpoint of the family.
inline std::vector<CaseOf> reference_cases() {
  std::vector<CaseOf> cases;
  for (const std::string family :
       {"llava_hf", "llava_orig", "qwen2vl", "internvl2_internlm2", "internvl2_internlm2_6b", "internvl2_phi3",
        "internvl3_qwen2", "internvl3_qwen2_hf", "internvl3_qwen3", "internvl3_qwen3_hf", "anyres_llava_next",
        "anyres_llava_onevision", "qwen2_5_vl", "qwen3_vl"})
    for (const std::string model : {"model", "model_newkeys"})
      for (const std::string name : {"single", "square", "nonsquare", "two_images", "tiles2_thumb", "ntk_active",
                                     "long_factor", "text_only", "wide", "tall", "windows"})
        if (fs::exists(fixtures() / family / model) && fs::exists(fixtures() / family / "cases" / name))
          cases.push_back({family + "/" + model, family + "/cases/" + name});
  return cases;
}

inline Json case_json(const std::string& test) { return read_json(fixtures() / test / "case.json"); }

/// What a run from pixels may differ by: measured, where the case says it.
inline double pixel_tolerance(const Json& info) {
  if (info["spans"].empty()) return info["tolerance"]["dense"]["values"].get<double>();
  return has(info["tolerance"], "pixels") ? info["tolerance"]["pixels"]["values"].get<double>() : 2e-3;
}

/// The checkpoint of a case, its config changed as the case says (`config_overrides`).
inline OpenModel open_case_model(const CaseOf& of) {
  const Json info = case_json(of.test);
  if (!has(info, "config_overrides") || info["config_overrides"].empty()) return open_model(fixtures() / of.model);
  static std::map<std::string, std::unique_ptr<TemporaryFolder>> folders;
  auto& folder = folders[of.model + of.test];
  if (!folder) {
    folder = std::make_unique<TemporaryFolder>();
    fs::copy(fixtures() / of.model, folder->path(), fs::copy_options::recursive);
    Json config = read_json(*folder / "config.json");
    config.merge_patch(info["config_overrides"]);
    write_json(*folder / "config.json", config);
  }
  return open_model(folder->path());
}

/// The spans of a case.json: [[start, rows, columns], ...].
inline std::vector<Span> spans_of(const Json& info) {
  std::vector<Span> spans;
  for (const Json& span : info.at("spans")) spans.push_back({span[0], span[1], span[2]});
  return spans;
}

/// The first hidden rows of a run as ready embeddings at the case's own positions.
inline ModelInput embedded_input(const Json& info, const SafetensorsFile& inputs, const SafetensorsFile& dense) {
  ModelInput input;
  input.spans = spans_of(info);
  input.position_ids = inputs.at("position_ids").ints();
  input.position_axes = inputs.at("position_ids").shape.size() > 1 ? inputs.at("position_ids").shape[0] : 1;
  const TensorView& hidden = dense.at("hidden");
  const std::vector<float> values = hidden.floats();
  input.embeds.assign(values.begin(), values.begin() + hidden.shape[1] * hidden.shape[2]);
  if (dense.contains("deepstack")) input.deepstack = dense.at("deepstack").floats();
  return input;
}

/// One sample from its token ids and pixels. InternVL2's placeholder is known to the tokenizer alone, hence the case's.
inline ModelInput input_from_pixels(ModelSpec spec, const Json& info, const SafetensorsFile& inputs,
                                    const std::string& prefix = "") {
  if (has(info, "img_context_token_id")) spec.image_token_id = info["img_context_token_id"];
  std::vector<PatchGrid> grids;
  if (!inputs.contains(prefix + "pixel_values"))
    return make_input(spec, inputs.at(prefix + "input_ids").ints(), {}, grids, prefix);
  const TensorView& pixels = inputs.at(prefix + "pixel_values");
  if (is_anyres(spec)) {  // [images, most tiles, ...]: each image's own are the first
    const std::vector<int64_t> given = inputs.at(prefix + "image_sizes").ints();
    const std::vector<float> all = pixels.floats();
    std::vector<std::array<int64_t, 2>> sizes;
    for (size_t i = 0; i < given.size(); i += 2) sizes.push_back({given[i], given[i + 1]});
    std::vector<float> own;
    int64_t tiles = 0, image = 0;
    for (const AnyResLayout& layout : anyres_layouts(spec, sizes)) {
      const auto first = all.begin() + image++ * pixels.shape[1] * spec.vision.picture_values();
      own.insert(own.end(), first, first + layout.tiles() * spec.vision.picture_values());
      tiles += layout.tiles();
    }
    return make_input(spec, inputs.at(prefix + "input_ids").ints(), own, square_grids(spec, tiles), prefix, sizes);
  }
  if (inputs.contains(prefix + "image_grid_thw")) {
    const std::vector<int64_t> thw = inputs.at(prefix + "image_grid_thw").ints();
    for (size_t i = 0; i < thw.size(); i += 3) grids.push_back({thw[i + 1], thw[i + 2]});
  } else {
    grids = square_grids(spec, pixels.shape[0]);
  }
  return make_input(spec, inputs.at(prefix + "input_ids").ints(), pixels.floats(), grids, prefix);
}

/// The samples of a left-padded batch, each with as many of the pictures as it has room for, and the logits of its
/// rows.
struct PaddedBatch {
  std::vector<ModelInput> samples;
  std::vector<std::vector<float>> logits;  // [sample][T_i, V]
};
inline PaddedBatch padded_batch(const ModelSpec& spec, const std::string& family) {
  const fs::path folder = fixtures() / family / "cases/batch_pad";
  const SafetensorsFile inputs = SafetensorsFile::open(folder / "inputs.safetensors");
  const TensorView& mask = inputs.at("attention_mask");
  const int64_t batch = mask.shape[0], rows = mask.shape[1], vocab = spec.text.vocab_size;
  const std::vector<int64_t> real = mask.ints(), ids = inputs.at("input_ids").ints();
  const std::vector<float> pixels = inputs.at("pixel_values").floats();
  const std::vector<float> expected = SafetensorsFile::open(folder / "dense.safetensors").at("logits").floats();
  std::vector<int64_t> thw;
  if (inputs.contains("image_grid_thw")) thw = inputs.at("image_grid_thw").ints();
  PaddedBatch all;
  auto pixel = pixels.begin();
  size_t picture = 0;
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<int64_t> own;
    all.logits.emplace_back();
    for (int64_t t = 0; t < rows; ++t) {
      if (!real[size_t(b * rows + t)]) continue;
      own.push_back(ids[size_t(b * rows + t)]);
      const auto row = expected.begin() + (b * rows + t) * vocab;
      all.logits.back().insert(all.logits.back().end(), row, row + vocab);
    }
    std::vector<PatchGrid> grids;
    if (std::count(own.begin(), own.end(), spec.image_token_id) > 0) {
      grids =
          thw.empty() ? square_grids(spec, 1) : std::vector<PatchGrid>{{thw[3 * picture + 1], thw[3 * picture + 2]}};
      ++picture;
    }
    const auto values = grids.empty() ? 0 : grids[0][0] * grids[0][1] * spec.vision.patch_values();
    all.samples.push_back(make_input(spec, own, {pixel, pixel + values}, grids, "batch_pad"));
    pixel += values;
  }
  return all;
}

}  // namespace yopo::testing
