// What the rules that turn a free answer into a letter share.
#pragma once

#include "evaluation/benchmarks/mmbench/read.h"

namespace yopo {

using Choices = std::vector<std::pair<char, std::string>>;

/// The letter of the only option whose lower-cased text stands in the lower-cased answer; 0 if there is none or more.
char only_option_inside(const std::string& answer, const Choices& choices);

/// The rule of mmbench_letter that has a file of its own.
char rule_lmms(const std::string& answer, const MmbenchQuestion& question);

}  // namespace yopo
