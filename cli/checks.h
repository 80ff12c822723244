// What the value of a flag must be. Messages name the flag as it is typed.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

namespace yopo::cli {

/// "--top-p" for "top_p".
std::string flag_of(std::string_view key);

/// UserError naming the flag and the nearest word, unless `text` is one of the words.
void check_word(const std::string& flag, const std::string& text, const std::vector<std::string>& words);

/// Checks while flags are parsed: a word, a whole number within bounds.
CLI::Validator one_of(std::vector<std::string> words);
CLI::Validator whole_number(int64_t low, int64_t high = std::numeric_limits<int64_t>::max());
/// From `low` on, which itself means something else: whole_number(0, "all").
CLI::Validator whole_number(int64_t low, const std::string& meaning);

/// Of --device and --dtype; whether this machine has it shows later.
CLI::Validator device_name();
CLI::Validator dtype_name(bool automatic = true);

}  // namespace yopo::cli
