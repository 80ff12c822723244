#include "runtime/shared_prefix.h"

#include <algorithm>
#include <cstring>

#include "models/rope.h"

namespace yopo::runtime {
namespace {

template <typename T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

bool same_images(const ModelInput& a, const ModelInput& b) {
  const auto same = [](const Span& x, const Span& y) {
    return x.start == y.start && x.rows == y.rows && x.columns == y.columns;
  };
  return a.images == b.images && a.image_sizes == b.image_sizes &&
         std::equal(a.spans.begin(), a.spans.end(), b.spans.begin(), b.spans.end(), same) &&
         same_bytes(a.pixel_values, b.pixel_values) && same_bytes(a.deepstack, b.deepstack);
}

/// Tokens that both begin with.
int64_t common_tokens(const ModelInput& a, const ModelInput& b, int64_t hidden) {
  const int64_t most = std::min(a.length(), b.length());
  const bool embedded = !a.embeds.empty();
  const auto same = [&](int64_t token) {
    for (int64_t axis = 0; axis < a.position_axes; ++axis)
      if (a.position_ids[size_t(axis * a.length() + token)] != b.position_ids[size_t(axis * b.length() + token)])
        return false;
    if (embedded)
      return std::memcmp(a.embeds.data() + token * hidden, b.embeds.data() + token * hidden,
                         size_t(hidden) * sizeof(float)) == 0;
    return a.input_ids[size_t(token)] == b.input_ids[size_t(token)];
  };
  int64_t count = 0;
  while (count < most && same(count)) ++count;
  return count;
}

/// Whether spans, ids, embeddings and positions have the sizes that their length asks for. What has not is refused
/// where it is embedded, with a message; here it only must not be read.
bool readable(const ModelInput& input, int64_t hidden) {
  const int64_t length = input.length();
  if (int64_t(input.position_ids.size()) != input.position_axes * length) return false;
  if (!input.embeds.empty()) return int64_t(input.embeds.size()) == length * hidden;
  return int64_t(input.input_ids.size()) == length;
}

}  // namespace

std::vector<SharedPrefix> shared_prefixes(const ModelSpec& spec, const std::vector<ModelInput>& inputs) {
  const int64_t hidden = spec.text.hidden_size;
  std::vector<SharedPrefix> shared(inputs.size());
  std::vector<size_t> leaders;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const ModelInput& input = inputs[i];
    if (input.spans.empty() || input.kept || !readable(input, hidden)) continue;
    const Span& last = input.spans.back();
    for (const size_t leader : leaders) {
      const ModelInput& other = inputs[leader];
      if (other.position_axes != input.position_axes || other.embeds.empty() != input.embeds.empty() ||
          !same_images(other, input) ||
          !same_rotation(spec.text, other.position_ids, other.length(), input.position_ids, input.length()))
        continue;
      const int64_t tokens = std::min(common_tokens(other, input, hidden), input.length() - 1);
      if (tokens < last.start + last.count()) continue;
      shared[i] = {int64_t(leader), tokens};
      break;
    }
    if (shared[i].leader < 0) leaders.push_back(i);
  }
  return shared;
}

}  // namespace yopo::runtime
