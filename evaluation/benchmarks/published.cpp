#include "evaluation/benchmarks/published.h"

namespace yopo {

const std::vector<PublishedModel>& published_models() {
  // 336-pixel images in patches of 14 tell LLaVA-1.5 from models of its form on the same decoders.
  static const std::vector<PublishedModel> models = {{"llava-1.5-7b", 336, 14, 1024, 4096, 32, 32},
                                                     {"llava-1.5-13b", 336, 14, 1024, 5120, 40, 40}};
  return models;
}

std::vector<PublishedScore> published_scores(const std::array<double, 4>& of_7b, const std::array<double, 4>& of_13b) {
  std::vector<PublishedScore> scores;
  for (const auto* column : {&of_7b, &of_13b}) {
    const std::string& model = published_models()[column == &of_7b ? 0 : 1].name;
    scores.push_back({model, "LLaVA-1.5", "dense", (*column)[0]});
    scores.push_back({model, "YOPO, Table 2", "dense", (*column)[1]});
    scores.push_back({model, "YOPO, Table 2", "YOPO 25 %", (*column)[2]});
    scores.push_back({model, "YOPO, Table 2", "YOPO 12 %", (*column)[3]});
  }
  return scores;
}

}  // namespace yopo
