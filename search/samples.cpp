#include "search/samples.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/progress.h"

namespace yopo {
namespace {

constexpr int64_t at_once = 32;

/// Samples of one picture behind one another; otherwise as they come.
std::vector<Sample> by_picture(std::vector<Sample> samples) {
  std::erase_if(samples, [](const Sample& sample) { return sample.images.empty() && sample.encoded.empty(); });
  std::stable_sort(samples.begin(), samples.end(),
                   [](const Sample& a, const Sample& b) { return a.images < b.images; });
  return samples;
}

/// Embeddings in place of ids and pixels: the tower has run for good.
void embed(const runtime::Engine& engine, ModelInput& input) {
  TraceOptions options;
  options.hidden = false, options.embeddings = true, options.all_logits = false;
  Trace trace = engine.trace(input, options);
  input.embeds = std::move(trace.hidden);
  input.input_ids.clear();
  input.pixel_values.clear();
}

}  // namespace

std::vector<Sample> recombined(const std::vector<Sample>& samples, int64_t questions) {
  const std::vector<Sample> ordered = by_picture(samples);
  std::vector<Sample> all;
  for (size_t first = 0; first < ordered.size();) {
    size_t last = first;
    std::set<std::string> asked;
    for (; last < ordered.size() && ordered[last].images == ordered[first].images && ordered[last].encoded.empty();
         ++last)
      if (asked.insert(ordered[last].text).second) all.push_back(ordered[last]);
    if (last == first) all.push_back(ordered[last++]);
    // The questions that follow in the file's order, round and round: every question is borrowed about equally often.
    for (size_t i = 0; ordered[first].encoded.empty() && i < ordered.size() && int64_t(asked.size()) < questions; ++i) {
      const Sample& lender = ordered[(last + i * 7) % ordered.size()];
      if (!lender.encoded.empty() || !asked.insert(lender.text).second) continue;
      Sample sample = ordered[first];
      sample.text = lender.text;
      sample.where = fmt::format("{} with the question of {}", ordered[first].where, lender.where);
      all.push_back(std::move(sample));
    }
    first = last;
  }
  return all;
}

std::vector<JudgedSample> judged_samples(const runtime::Engine& engine, const Processor& processor,
                                         const std::vector<Sample>& samples, int64_t max_new_tokens) {
  const std::vector<Sample> ordered = by_picture(samples);
  const ModelSpec& spec = engine.spec();
  const std::vector<int64_t>& ends = spec.eos_token_ids;
  std::vector<JudgedSample> judged;
  Progress progress("answers of the dense model", int64_t(ordered.size()), "samples");
  for (size_t first = 0; first < ordered.size(); first += size_t(at_once)) {
    const size_t last = std::min(ordered.size(), first + size_t(at_once));
    std::vector<ModelInput> inputs;
    for (size_t i = first; i < last; ++i) inputs.push_back(processor.prepare(ordered[i]));
    const std::vector<runtime::Generated> answers = engine.generate(inputs, max_new_tokens);
    for (size_t i = first; i < last; ++i) {
      JudgedSample& sample = judged.emplace_back();
      const bool same = i > 0 && ordered[i].images == ordered[i - 1].images && ordered[i].encoded.empty();
      sample.picture = judged.size() == 1 ? 0 : judged[judged.size() - 2].picture + (same ? 0 : 1);
      sample.where = ordered[i].where;
      sample.input = std::move(inputs[i - first]);
      std::vector<int64_t> tokens = answers[i - first].tokens;
      if (answers[i - first].stopped) tokens.push_back(ends.front());
      sample.answer = std::max<int64_t>(int64_t(tokens.size()), 1);
      if (!tokens.empty()) tokens.pop_back();
      sample.input.input_ids.insert(sample.input.input_ids.end(), tokens.begin(), tokens.end());
      number_positions(spec, int64_t(sample.input.input_ids.size()), sample.input);
      embed(engine, sample.input);
      progress.tick();
    }
  }
  progress.finish();
  return judged;
}

ModelInput up_to_last_picture(const ModelInput& input, int64_t hidden_size) {
  ModelInput cut = input;
  const int64_t length = input.length();
  const int64_t kept = input.spans.empty() ? length : input.spans.back().start + input.spans.back().count();
  cut.position_ids.clear();
  for (int64_t axis = 0; axis < input.position_axes; ++axis) {
    const auto first = input.position_ids.begin() + axis * length;
    cut.position_ids.insert(cut.position_ids.end(), first, first + kept);
  }
  cut.embeds.resize(size_t(kept * hidden_size));
  return cut;
}

}  // namespace yopo
