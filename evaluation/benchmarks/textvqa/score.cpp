#include "evaluation/benchmarks/textvqa/score.h"

#include "evaluation/benchmarks/vqa_text.h"

namespace yopo {

Score score_textvqa(const TextVqa& data, const Answers& answers) {
  Score score;
  double total = 0;
  for (const Sample& sample : data.samples) {
    const double value = vqa_score(answer_to(sample, answers), sample.answers);
    score.values.push_back(value);
    total += value;
    ++score.count;
  }
  score.score = ratio(total, score.count);
  score.details = {{"with OCR tokens", data.with_ocr}};
  return score;
}

}  // namespace yopo
