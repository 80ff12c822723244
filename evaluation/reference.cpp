#include "evaluation/reference.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace yopo {

namespace {

constexpr std::array<std::string_view, 7> kBenchmarks = {"gqa",  "vqav2", "scienceqa", "textvqa",
                                                         "pope", "mme",   "mmbench"};

struct Row {
  std::string_view model, source, setting;
  std::array<double, kBenchmarks.size()> scores;  // as published: percent, MME's points
};

constexpr std::string_view kLlava = "LLaVA-1.5", kYopo = "YOPO, Table 2", k7b = "llava-1.5-7b", k13b = "llava-1.5-13b";

constexpr std::array kRows = {
    Row{k7b, kLlava, "dense", {62.0, 78.5, 66.8, 58.2, 85.9, 1510.7, 64.3}},
    Row{k7b, kYopo, "dense", {62.3, 79.2, 69.4, 58.1, 87.3, 1492.8, 65.4}},
    Row{k7b, kYopo, "YOPO 25 %", {61.6, 78.0, 69.0, 56.3, 86.8, 1483.6, 65.5}},
    Row{k7b, kYopo, "YOPO 12 %", {60.7, 77.4, 68.0, 55.2, 86.6, 1429.6, 64.1}},
    Row{k13b, kLlava, "dense", {63.3, 80.0, 71.6, 61.3, 85.9, 1531.3, 67.7}},
    Row{k13b, kYopo, "dense", {63.0, 79.7, 72.4, 59.8, 86.4, 1558.0, 68.7}},
    Row{k13b, kYopo, "YOPO 25 %", {62.5, 78.9, 71.3, 58.3, 86.3, 1457.3, 67.4}},
    Row{k13b, kYopo, "YOPO 12 %", {61.2, 78.1, 70.7, 56.7, 86.4, 1426.2, 65.5}},
};

}  // namespace

const std::vector<std::string>& reference_models() {
  static const std::vector<std::string> names = {std::string(k7b), std::string(k13b)};
  return names;
}

std::string reference_model(const ModelSpec& spec) {
  const DecoderSpec& text = spec.text;
  // 336-pixel images in patches of 14 tell LLaVA-1.5 from models of its form on the same decoders.
  if (spec.family != "llava" || spec.vision.image_size != 336 || spec.vision.patch_size != 14) return "";
  if (text.hidden_size == 4096 && text.num_hidden_layers == 32 && text.num_key_value_heads == 32)
    return std::string(k7b);
  if (text.hidden_size == 5120 && text.num_hidden_layers == 40 && text.num_key_value_heads == 40)
    return std::string(k13b);
  return "";
}

std::vector<ReferenceScore> reference_scores(const std::string& model, const std::string& benchmark) {
  const std::vector<std::string>& models = reference_models();
  require(std::find(models.begin(), models.end(), model) != models.end(),
          "reference: published scores are known of {}, found '{}'{}", fmt::join(models, " and "), printable(model),
          did_you_mean(model, models));
  const auto column = std::find(kBenchmarks.begin(), kBenchmarks.end(), benchmark);
  std::vector<ReferenceScore> scores;
  if (column == kBenchmarks.end()) return scores;
  for (const Row& row : kRows) {
    if (row.model != model) continue;
    const double published = row.scores[size_t(column - kBenchmarks.begin())];
    scores.push_back(
        {std::string(row.source), std::string(row.setting), benchmark == "mme" ? published : published / 100});
  }
  return scores;
}

}  // namespace yopo
