#include "models/context.h"

#include "core/error.h"
#include "core/progress.h"
#include "models/spec.h"

namespace yopo {

ContextWatch::ContextWatch(const ModelSpec& spec) : context_(spec.context_length()) {}

void ContextWatch::look(int64_t prompt, int64_t answer, const std::string& where) {
  // The last token of an answer is chosen, not read.
  if (told_ || prompt + answer - 1 <= context_) return;
  told_ = true;
  warn(
      fmt::format("{}: a prompt of {} tokens with an answer of up to {}; the model's context (max_position_embeddings) "
                  "is {}: what an answer says beyond it cannot be relied on",
                  where, prompt, answer, context_));
}

}  // namespace yopo
