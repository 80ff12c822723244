// How long a prompt and its answer may be together.
#pragma once

#include <cstdint>
#include <string>

namespace yopo {

struct ModelSpec;

/// Tells, once, of a prompt that with its answer goes beyond the model's context. For one thread.
class ContextWatch {
 public:
  explicit ContextWatch(const ModelSpec& spec);
  /// `answer`: tokens at most.
  void look(int64_t prompt, int64_t answer, const std::string& where);

 private:
  int64_t context_;
  bool told_ = false;
};

}  // namespace yopo
