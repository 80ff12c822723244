// Reference cases, random models and random plans for the runtime's tests.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "models/input.h"
#include "plans/cost.h"
#include "plans/plan.h"
#include "runtime/engine.h"
#include "tests/runtime/reference_decoder.h"

namespace yopo::testing {

fs::path fixture(const std::string& path);

/// A case of the reference implementation: its input embeddings, its spans and forced tokens.
struct Case {
  std::string name;  // "llava_hf/cases/single"
  std::vector<Span> spans;
  std::vector<int64_t> decode;
  Json json;
  SafetensorsFile file(const std::string& run) const;
  /// As ready embeddings: hidden[0] of the run.
  ModelInput embedded() const;
};
Case read_case(const std::string& name);

/// A small random model with grouped-query attention, biases and uneven sizes.
ModelSpec small_spec();
/// Weights of that model as the runtime draws them from `seed`, rounded to `type`.
ReferenceWeights drawn_weights(const ModelSpec& spec, uint64_t seed, DType type = DType::F32);
/// Weights of a checkpoint.
ReferenceWeights stored_weights(const OpenModel& model);

/// Heads, updates, neurons, depth and window at random, with empty and full sets among them.
Plan drawn_plan(const DecoderSpec& spec, std::mt19937& random);
/// A prompt of images and text at random as ready embeddings.
ModelInput drawn_input(const DecoderSpec& spec, std::mt19937& random, int64_t images);

/// Appends a decoded token's embedding as one more text row.
void append_row(ModelInput& input, const std::vector<double>& embed_table, int64_t token, int64_t hidden);

}  // namespace yopo::testing
