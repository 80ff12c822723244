// The text of an answer while its tokens come.
#pragma once

#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace yopo {

/// Hands out the text of tokens as soon as later tokens cannot change it: whole UTF-8 characters, without white space
/// at either end of the answer, and without a last blank that some tokenizers drop in front of what follows ("do n't").
/// The parts together are the stripped text of all tokens. For one thread.
class TextStream {
 public:
  /// `tokenizer` outlives this.
  explicit TextStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  /// The text that this token made certain, often "".
  std::string add(int64_t token);
  /// What is left once no more tokens come.
  std::string finish();

 private:
  std::string take(const std::string& text, size_t end);
  void shorten(const std::string& text);

  const Tokenizer& tokenizer_;
  std::vector<int64_t> tokens_;  // the last ones; those before are settled
  std::string given_;            // of the text of `tokens_`, handed out or skipped
  bool started_ = false;         // the first character that is no white space has come
};

/// Looks for stop texts in an answer that comes in parts.
class StopTexts {
 public:
  /// Empty texts are left out.
  explicit StopTexts(const std::vector<std::string>& texts);
  /// What of the answer so far may be shown: nothing of a stop text, nor of what may become one.
  std::string add(const std::string& part);
  /// What was kept back, once no more comes.
  std::string finish();
  /// A stop text has come: the answer ends before it.
  bool found() const { return found_; }

 private:
  std::vector<std::string> texts_;
  std::string waiting_;
  bool found_ = false;
};

}  // namespace yopo
