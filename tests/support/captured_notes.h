// What is noted and warned of while this lives.
#pragma once

#include <string>

#include "core/progress.h"

namespace yopo::testing {

class CapturedNotes {
 public:
  CapturedNotes() {
    const auto keep = [this](const std::string& line) { text_ += line + "\n"; };
    set_progress_sink(ProgressSink{keep, keep, {}});
  }
  ~CapturedNotes() { set_progress_sink({}); }
  CapturedNotes(const CapturedNotes&) = delete;
  CapturedNotes& operator=(const CapturedNotes&) = delete;

  /// A line each.
  const std::string& text() const { return text_; }
  bool has(const std::string& part) const { return text_.find(part) != std::string::npos; }

 private:
  std::string text_;
};

}  // namespace yopo::testing
