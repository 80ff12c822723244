// Input embeddings of a batch: looked-up tokens, visual features straight from the vision tower, or ready rows.
#include <algorithm>

#include "core/error.h"
#include "models/anyres.h"
#include "models/patches.h"
#include "runtime/state.h"

namespace yopo::runtime {
namespace {

/// Of images that are tiles on a canvas.
void check_tiles(const EngineState& state, const ModelInput& input, size_t request) {
  std::vector<Span> expected;
  int64_t tiles = 0;
  for (const AnyResLayout& layout : anyres_layouts(state.spec, input.image_sizes)) {
    for (const Span& span : layout.spans()) expected.push_back(span);
    tiles += layout.tiles();
  }
  const bool same = std::equal(expected.begin(), expected.end(), input.spans.begin(), input.spans.end(),
                               [](const Span& a, const Span& b) { return a.rows == b.rows && a.columns == b.columns; });
  require(same && tiles == input.images, "request {}: {} images of {} tiles do not fit the prompt's {} grids", request,
          input.image_sizes.size(), input.images, input.spans.size());
  const int64_t values = tiles * state.spec.vision.picture_values();
  require(int64_t(input.pixel_values.size()) == values, "request {}: pixel_values: expected {} values, found {}",
          request, values, input.pixel_values.size());
}

void check_input(const EngineState& state, const ModelInput& input, size_t request) {
  const int64_t hidden = state.spec.text.hidden_size;
  if (!input.embeds.empty()) {
    require(int64_t(input.embeds.size()) == input.length() * hidden,
            "request {}: embeds: expected [{}, {}], found {} values", request, input.length(), hidden,
            input.embeds.size());
    check_deepstack(state.spec, input, fmt::format("request {}", request));
    return;
  }
  require(int64_t(input.input_ids.size()) == input.length(), "request {}: {} input ids for {} positions", request,
          input.input_ids.size(), input.length());
  const VisionSpec& v = state.spec.vision;
  int64_t patches = 0;
  for (const PatchGrid& grid : patch_grids(v, input)) patches += grid[0] * grid[1];
  if (!input.image_sizes.empty()) return check_tiles(state, input, request);
  require(input.images == int64_t(input.spans.size()), "request {}: {} images, but the prompt has room for {}", request,
          input.images, input.spans.size());
  require(int64_t(input.pixel_values.size()) == patches * v.patch_values(),
          "request {}: pixel_values: expected {} patches of {} values, found {} values", request, patches,
          v.patch_values(), input.pixel_values.size());
  for (const Span& span : input.spans)
    require(v.image_size == 0 || (span.rows == state.spec.token_grid() && span.columns == state.spec.token_grid()),
            "request {}: an image of {} x {} visual tokens; this model's have {} x {}", request, span.rows,
            span.columns, state.spec.token_grid(), state.spec.token_grid());
}

/// The visual tokens of inputs whose images are tiles: `out` [visual tokens, hidden] fp32 on the device.
void run_tiles(const EngineState& state, const std::vector<Picture>& tiles,
               const std::vector<const ModelInput*>& inputs, float* out, Trace* trace) {
  const int64_t hidden = state.spec.text.hidden_size, rows = int64_t(tiles.size()) * state.spec.image_tokens();
  const Buffer features = state.buffer((rows + 1) * hidden, DType::F32);
  run_vision(state, tiles, features.as<float>(), trace);
  TokenMix all;
  const auto upload = [&](const auto& values) {
    Buffer buffer(*state.ops, values.size() * sizeof values[0], &state.memory);
    state.ops->upload(buffer.data(), values.data(), values.size() * sizeof values[0]);
    return buffer;
  };
  const Buffer zero = upload(std::vector<int32_t>(4, 0)), one = upload(std::vector<float>{1, 0, 0, 0});
  state.ops->mix_rows(state.weights->projector.newline, zero.as<int32_t>(), one.as<float>(), 1, hidden,
                      features.as<float>() + rows * hidden);
  int64_t first = 0;  // of the input's tiles among all
  for (const ModelInput* input : inputs) {
    const TokenMix mix = token_mix(state.spec, *input);
    const int64_t own = input->images * state.spec.image_tokens();
    for (const int32_t index : mix.index) all.index.push_back(int32_t(index == own ? rows : first + index));
    all.weight.insert(all.weight.end(), mix.weight.begin(), mix.weight.end());
    first += own;
  }
  const int64_t tokens = int64_t(all.index.size()) / 4;
  const Buffer index = upload(all.index), weight = upload(all.weight);
  state.ops->mix_rows(features.as<float>(), index.as<int32_t>(), weight.as<float>(), tokens, hidden, out);
  if (!trace) return;
  trace->vision_attention.clear();  // of the tiles, not of the visual tokens
  trace->vision_features.resize(size_t(tokens * hidden));
  state.ops->download(trace->vision_features.data(), out, trace->vision_features.size() * sizeof(float));
}

}  // namespace

void embed_token(const EngineState& state, int64_t token, float* out) {
  const int64_t hidden = state.spec.text.hidden_size;
  require(token >= 0 && token < state.spec.text.vocab_size, "token id {} is outside the vocabulary of {}", token,
          state.spec.text.vocab_size);
  const DType type = state.weights->embed_type;
  to_float(offset(state.weights->embed, type, token * hidden), type, size_t(hidden), out);
}

void embed_inputs(const EngineState& state, const std::vector<ModelInput>& inputs, const Layout& layout, float* x,
                  Trace* trace, const DeepRows& deep) {
  const int64_t hidden = state.spec.text.hidden_size;
  for (size_t i = 0; i < inputs.size(); ++i) check_input(state, inputs[i], i);  // before the expensive part

  std::vector<float> text(size_t(layout.text_rows * hidden)), ready;
  std::vector<Picture> pictures;  // waiting for the tower; their features lie one after another from first_row on
  int64_t first_row = 0;
  std::vector<const ModelInput*> tiled;  // the inputs whose pictures wait are tiles, all or none of them
  const auto run_images = [&] {
    float* to = x + first_row * hidden;
    if (!tiled.empty())
      run_tiles(state, pictures, tiled, to, trace);
    else if (!pictures.empty())
      run_vision(state, pictures, to, trace, deep, first_row);
    pictures.clear(), tiled.clear();
  };
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ModelInput& input = inputs[i];
    const RequestRows& rows = layout.requests[i];
    const bool embedded = !input.embeds.empty();
    ready.assign(embedded ? size_t(rows.visual_rows * hidden) : 0, 0.0f);
    for (int64_t token = layout.shared_tokens(i); token < input.length(); ++token) {
      const int64_t row = rows.row_of[size_t(token)];
      const bool visual = row < layout.visual_rows;
      float* to = visual ? nullptr : text.data() + (row - layout.visual_rows) * hidden;
      if (embedded)
        std::copy_n(input.embeds.data() + token * hidden, hidden,
                    visual ? ready.data() + (row - rows.visual_row) * hidden : to);
      else if (!visual)
        embed_token(state, input.input_ids[size_t(token)], to);
    }
    if (embedded && rows.visual_rows > 0) {
      run_images();  // this request's rows lie between those before and after it
      state.ops->upload(x + rows.visual_row * hidden, ready.data(), ready.size() * sizeof(float));
      for (int64_t tap = 0; deep.data && tap < state.spec.deep_taps(); ++tap)
        state.ops->upload(deep.data + (tap * deep.rows + rows.visual_row) * hidden,
                          input.deepstack.data() + tap * rows.visual_rows * hidden, ready.size() * sizeof(float));
    } else if (rows.visual_rows > 0) {
      if (pictures.empty()) first_row = rows.visual_row;
      const std::vector<PatchGrid> grids = patch_grids(state.spec.vision, input);
      if (!input.image_sizes.empty()) tiled.push_back(&input);
      for (size_t picture = 0; picture < grids.size(); ++picture)
        pictures.push_back({&input, int64_t(picture), grids[picture]});
    }
  }
  run_images();
  if (!text.empty()) state.ops->upload(x + layout.visual_rows * hidden, text.data(), text.size() * sizeof(float));
}

}  // namespace yopo::runtime
