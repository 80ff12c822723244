#include "evaluation/reference.h"

#include <algorithm>

#include "core/error.h"
#include "evaluation/benchmarks/benchmark.h"
#include "evaluation/benchmarks/registry.h"

namespace yopo {

std::vector<std::string> reference_models() {
  std::vector<std::string> models;
  for (const Benchmark* benchmark : benchmarks())
    for (const PublishedScore& one : benchmark->published)
      if (std::find(models.begin(), models.end(), one.model) == models.end()) models.push_back(one.model);
  return models;
}

std::string reference_model(const ModelSpec& spec) {
  for (const PublishedModel& one : published_models())
    if (spec.vision.image_size == one.image_size && spec.vision.patch_size == one.patch_size &&
        spec.vision.hidden_size == one.tower_width && spec.text.hidden_size == one.hidden_size &&
        spec.text.num_hidden_layers == one.layers && spec.text.num_key_value_heads == one.kv_heads)
      return one.name;
  return "";
}

std::vector<ReferenceScore> reference_scores(const std::string& model, const Benchmark& benchmark) {
  const std::vector<std::string> models = reference_models();
  require(std::find(models.begin(), models.end(), model) != models.end(),
          "reference: published scores are known of {}, found '{}'{}", fmt::join(models, " and "), printable(model),
          did_you_mean(model, models));
  std::vector<ReferenceScore> scores;
  for (const PublishedScore& one : benchmark.published)
    if (one.model == model) scores.push_back({one.source, one.setting, benchmark.points ? one.score : one.score / 100});
  return scores;
}

}  // namespace yopo
