// Which token comes next: the most probable one, or one drawn at random.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace yopo::runtime {

/// How a token is drawn. In this order, as transformers does it: logits are divided by the temperature, the top_k
/// largest stay, of these the most probable that together reach top_p stay, one is drawn by its probability among them.
struct Sampling {
  double temperature = 0;  // 0: the most probable token, always
  int64_t top_k = 0;       // 0: all
  double top_p = 1;        // above 0, at most 1
  uint64_t seed = 0;       // the same seed draws the same tokens, on any number of threads
};

/// UserError naming the value that is out of range as `name` calls it: by default as above, "top_p".
void check_sampling(const Sampling& sampling, std::string (*name)(std::string_view) = nullptr);

/// The token for logits [V]. `place` counts the tokens of one text: what is drawn depends on seed, place and logits
/// alone. Of equal logits the lower id comes first. UserError naming `request` if a logit is NaN or none is finite:
/// weights or input hold NaN or Inf.
int64_t choose_token(std::span<const float> logits, const Sampling& sampling, uint64_t place, int64_t request);

}  // namespace yopo::runtime
