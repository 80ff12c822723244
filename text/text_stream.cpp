#include "text/text_stream.h"

#include <algorithm>
#include <utility>

#include "text/unicode.h"

namespace yopo {
namespace {

constexpr size_t longest_window = 64, shortest_window = 16;  // tokens that are decoded again with each new one
constexpr std::string_view replacement = "\xef\xbf\xbd";     // U+FFFD: so far no whole character

/// The length of `text` without what later tokens may still change.
size_t settled(std::string_view text) {
  while (text.ends_with(replacement)) text.remove_suffix(replacement.size());
  // clean_up_tokenization looks at a blank and up to three characters after it.
  if (const size_t blank = text.rfind(' '); blank != std::string_view::npos && text.size() - blank <= 3)
    text = text.substr(0, blank);
  return strip_right(text).size();
}

}  // namespace

std::string TextStream::add(int64_t token) {
  tokens_.push_back(token);
  const std::string text = tokenizer_.decode(tokens_, true);
  std::string part = take(text, settled(text));
  if (tokens_.size() > longest_window) shorten(text);
  return part;
}

std::string TextStream::finish() {
  const std::string text = tokenizer_.decode(tokens_, true);
  std::string part = take(text, strip_right(text).size());
  tokens_.clear();
  given_.clear();
  started_ = false;
  return part;
}

std::string TextStream::take(const std::string& text, size_t end) {
  if (!started_) {
    const size_t first = text.size() - strip_left(text).size();
    if (end <= first) return "";
    started_ = true;
    given_ = text.substr(0, first);
  }
  if (end <= given_.size() || !text.starts_with(given_)) return "";
  std::string part = text.substr(given_.size(), end - given_.size());
  given_ += part;
  return part;
}

/// Forgets the oldest tokens where the last ones alone decode to the end of the same text.
void TextStream::shorten(const std::string& text) {
  const std::vector<int64_t> last(tokens_.end() - shortest_window, tokens_.end());
  const std::string end = tokenizer_.decode(last, true);
  const size_t before = text.size() - std::min(text.size(), end.size());
  if (end.empty() || !text.ends_with(end) || given_.size() < before || !text.starts_with(given_)) return;
  tokens_ = last;
  given_.erase(0, before);
}

StopTexts::StopTexts(const std::vector<std::string>& texts) {
  for (const std::string& text : texts)
    if (!text.empty()) texts_.push_back(text);
}

std::string StopTexts::add(const std::string& part) {
  if (found_) return "";
  waiting_ += part;
  size_t end = std::string::npos;
  for (const std::string& text : texts_) end = std::min(end, waiting_.find(text));
  if (end != std::string::npos) {
    found_ = true;
    return std::exchange(waiting_, "").substr(0, end);
  }
  size_t keep = 0;  // the longest end of `waiting_` that begins a stop text
  for (const std::string& text : texts_)
    for (size_t length = std::min(text.size() - 1, waiting_.size()); length > keep; --length)
      if (text.starts_with(std::string_view(waiting_).substr(waiting_.size() - length))) keep = length;
  const std::string shown = waiting_.substr(0, waiting_.size() - keep);
  waiting_.erase(0, shown.size());
  return shown;
}

std::string StopTexts::finish() { return std::exchange(waiting_, ""); }

}  // namespace yopo
