#include "reference/state.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <ATen/ATen.h>

#include "core/error.h"
#include "models/anyres.h"
#include "models/patches.h"

namespace yopo::torch_steps {

namespace {

// Calls `use` with a decoder layer's weights, held or brought in for this.
template <typename Use>
void with_layer(const State& state, int64_t layer, const Use& use) {
  if (!state.streaming) return use(state.weights.decoder.layers[size_t(layer)]);
  use(state.source.decoder_layer(layer));
  state.source.drop_decoder_layer(layer);
}

VisionLayers vision_layers(const State& state) {
  return [&state](int64_t layer, const std::function<void(const VisionLayerWeights&)>& use) {
    if (state.streaming) {
      use(state.source.vision_layer(layer));
      state.source.drop_vision_layer(layer);
    } else {
      use(state.weights.vision.layers[size_t(layer)]);
    }
    state.walk.step();
  };
}

at::Tensor tensor_of(const std::vector<float>& values, at::IntArrayRef shape, at::ScalarType dtype) {
  at::Tensor tensor = at::empty(shape, at::kFloat);
  ensure(tensor.numel() == int64_t(values.size()), "as many values as the shape has");
  std::memcpy(tensor.data_ptr<float>(), values.data(), values.size() * sizeof(float));
  return tensor.to(dtype);
}

// The patches of an input's pictures: [patches, values]. UserError unless they are those of its spans.
at::Tensor patches_of(const State& state, const ModelInput& input) {
  const VisionSpec& vision = state.spec.vision;
  const std::vector<PatchGrid> grids = patch_grids(vision, input);
  int64_t patches = 0;
  for (const PatchGrid& grid : grids) patches += grid[0] * grid[1];
  const int64_t values = vision.patch_values();
  require(input.images > 0 || grids.empty(), "the prompt has image placeholders but there are no pixels");
  const int64_t expected = vision.image_size > 0 ? input.images * vision.picture_values() : patches * values;
  require(input.images == int64_t(grids.size()) && int64_t(input.pixel_values.size()) == expected,
          "the prompt has room for {} pictures of {} patches; the pixels are of {} pictures, {} values", grids.size(),
          patches, input.images, input.pixel_values.size());
  return tensor_of(patch_rows(vision, input, 0, input.images), {patches, values}, state.dtype);
}

// The visual tokens of an input whose images are tiles: from the features of these and the newline.
at::Tensor mixed(const State& state, const ModelInput& input, const at::Tensor& tiles) {
  const TokenMix mix = token_mix(state.spec, input);
  const int64_t tokens = int64_t(mix.index.size()) / 4, width = tiles.size(1);
  const std::vector<int64_t> index(mix.index.begin(), mix.index.end());
  const at::Tensor rows = at::cat({tiles, state.weights.projector.newline.unsqueeze(0)})
                              .index_select(0, at::tensor(at::ArrayRef<int64_t>(index), at::kLong))
                              .view({tokens, 4, width});
  const at::Tensor weight = tensor_of(mix.weight, {tokens, 4, 1}, at::kFloat);
  return (rows.to(at::kFloat) * weight).sum(1).to(state.dtype);
}

// [n, visual tokens, C] among the rows of its sample, [n, T, C]; the others are zero.
at::Tensor at_visual_rows(const ModelInput& input, const at::Tensor& values) {
  at::Tensor rows = at::zeros({values.size(0), input.length(), values.size(2)}, values.options());
  int64_t from = 0;
  for (const Span& span : input.spans) {
    rows.slice(1, span.start, span.start + span.count()).copy_(values.slice(1, from, from + span.count()));
    from += span.count();
  }
  return rows;
}

}  // namespace

void run_layers(const State& state, const std::vector<LayerRule>& rules, std::vector<DecoderPass>& passes) {
  for (int64_t l = 0; l < state.spec.text.num_hidden_layers; ++l) {
    with_layer(state, l, [&](const LayerWeights& weights) {
      for (DecoderPass& pass : passes) pass.layer(l, weights, rules[size_t(l)]);
    });
    state.walk.step();
  }
}

std::vector<float> floats_of(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kFloat).contiguous();
  const float* data = values.data_ptr<float>();
  return std::vector<float>(data, data + values.numel());
}

at::Tensor embed_tokens(const State& state, const std::vector<int64_t>& tokens) {
  const int64_t vocab = state.weights.decoder.embed.size(0);
  for (const int64_t token : tokens)
    require(token >= 0 && token < vocab, "token {} is outside the model's vocabulary of {}", token, vocab);
  const at::Tensor index = at::tensor(at::ArrayRef<int64_t>(tokens), at::kLong);
  return state.weights.decoder.embed.index_select(0, index).to(state.dtype);
}

std::vector<Embedded> embed_inputs(const State& state, const std::vector<ModelInput>& inputs,
                                   std::vector<VisionOutput>* seen) {
  const int64_t width = state.spec.text.hidden_size;
  std::vector<Embedded> embeds;
  std::vector<at::Tensor> pixels;
  std::vector<PatchGrid> grids;
  for (const ModelInput& input : inputs) {
    const int64_t length = input.length();
    require(length > 0, "an empty prompt: there is no token to compute");
    check_spans(input.spans, length, "input");
    if (!input.embeds.empty()) {
      Embedded& own = embeds.emplace_back();
      own.rows = tensor_of(input.embeds, {length, width}, state.dtype);
      check_deepstack(state.spec, input, "input");
      if (!input.deepstack.empty())
        own.deepstack = at_visual_rows(
            input, tensor_of(input.deepstack, {state.spec.deep_taps(), input.visual_tokens(), width}, state.dtype));
      continue;
    }
    ensure(int64_t(input.input_ids.size()) == length, "one position a token");
    std::vector<int64_t> ids = input.input_ids;
    for (const Span& span : input.spans)  // placeholders need not be in the vocabulary
      std::fill_n(ids.begin() + span.start, span.count(), 0);
    embeds.push_back({embed_tokens(state, ids), {}});
    pixels.push_back(patches_of(state, input));
    const std::vector<PatchGrid> own = patch_grids(state.spec.vision, input);
    grids.insert(grids.end(), own.begin(), own.end());
  }
  if (seen) seen->resize(inputs.size());
  if (grids.empty()) return embeds;
  state.walk.expect(state.spec.vision.layers_run());
  const VisionOutput all = run_vision(state.spec, state.weights, vision_layers(state), grids, at::cat(pixels));
  int64_t token = 0, patch = 0;
  const int64_t merged = state.spec.vision.merge_size * state.spec.vision.merge_size;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].embeds.empty() || inputs[i].spans.empty()) continue;
    const bool tiled = !inputs[i].image_sizes.empty();
    const int64_t tokens = tiled ? inputs[i].images * state.spec.image_tokens() : inputs[i].visual_tokens();
    at::Tensor features = all.features.slice(0, token, token + tokens);
    if (tiled) features = mixed(state, inputs[i], features);
    int64_t from = 0;
    for (const Span& span : inputs[i].spans) {
      embeds[i]
          .rows.slice(0, span.start, span.start + span.count())
          .copy_(features.slice(0, from, from + span.count()));
      from += span.count();
    }
    if (all.deepstack.defined())
      embeds[i].deepstack = at_visual_rows(inputs[i], all.deepstack.slice(1, token, token + tokens));
    if (seen)
      (*seen)[i] = {all.hidden.slice(0, patch, patch + tokens * merged),
                    features,
                    all.attention.defined() && !tiled ? all.attention.slice(0, token, token + tokens) : at::Tensor(),
                    {}};
    token += tokens;
    patch += tokens * merged;
  }
  return embeds;
}

NewPositions positions_of(const ModelInput& input) { return {input.position_ids, input.position_axes}; }

std::vector<LayerRule> rules_for(const State& state, const Plan& plan, const MaskRules* rules) {
  check_plan(plan, state.spec.text, "plan");
  return layer_rules(state.spec.text, plan, rules ? *rules : rules_of(plan.semantics), state.dtype);
}

int64_t best_token(const at::Tensor& logits) {
  const std::vector<float> values = floats_of(logits);
  for (const float value : values)
    require(!std::isnan(value), "the model's logits are NaN: its weights or the input are damaged");
  return std::max_element(values.begin(), values.end()) - values.begin();
}

}  // namespace yopo::torch_steps
