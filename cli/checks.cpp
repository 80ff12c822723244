#include "cli/checks.h"

#include <algorithm>

#include "core/device_name.h"
#include "core/error.h"
#include "core/values.h"

namespace yopo::cli {

namespace {

/// What is wrong with a word, "" for nothing.
std::string word_fault(const std::string& text, const std::vector<std::string>& words) {
  if (std::find(words.begin(), words.end(), text) != words.end()) return "";
  return fmt::format("expected one of {}; found '{}'{}", fmt::join(words, ", "), printable(text),
                     did_you_mean(text, words));
}

}  // namespace

std::string flag_of(std::string_view key) {
  std::string flag = "--" + std::string(key);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

void check_word(const std::string& flag, const std::string& text, const std::vector<std::string>& words) {
  const std::string fault = word_fault(text, words);
  require(fault.empty(), "{}: {}", flag, fault);
}

// CLI11 puts the flag's name before what a check returns, and throws.

CLI::Validator one_of(std::vector<std::string> words) {
  return {[words = std::move(words)](std::string& text) { return word_fault(text, words); }, ""};
}

CLI::Validator whole_number(int64_t low, int64_t high) {
  const auto fault = [=](std::string& text) -> std::string {
    int64_t value = 0;
    if (parse_decimal(text, value) && value >= low && value <= high) return "";
    const bool open = high == std::numeric_limits<int64_t>::max();
    return fmt::format("expected a whole number {}; found '{}'",
                       open ? fmt::format("of at least {}", low) : fmt::format("from {} to {}", low, high),
                       printable(text));
  };
  return {fault, ""};
}

CLI::Validator whole_number(int64_t low, const std::string& meaning) {
  const auto fault = [=](std::string& text) -> std::string {
    int64_t value = 0;
    const bool number = parse_decimal(text, value);
    if (number && value >= low) return "";
    return fmt::format("expected {}; found '{}'",
                       number ? fmt::format("{} ({}) or more", low, meaning) : "a whole number", printable(text));
  };
  return {fault, ""};
}

CLI::Validator device_name() {
  return {[](std::string& text) { return device_name_fault(text); }, ""};
}

CLI::Validator dtype_name(bool automatic) {
  std::vector<std::string> words{"fp32", "bf16", "fp16", "float32", "bfloat16", "float16"};
  if (automatic) words.insert(words.begin(), "auto");
  return one_of(std::move(words));
}

}  // namespace yopo::cli
