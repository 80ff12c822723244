// What a search is asked for, as recipes say it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace yopo {

struct SearchOptions {
  int64_t evaluations = 400;    // plans measured on all samples, at most; on every n-th one counts as the n-th part
  double minutes = 0;           // or the time; 0: no limit. Which plan is found then depends on the machine
  int64_t samples = 200;        // calibration samples at most
  int64_t questions = 8;        // asked of each picture: its own, then those of others
  double held_out = 0.2;        // share of the pictures that the search never sees: they decide at the end
  int64_t max_new_tokens = 16;  // of the dense model's answers
  std::string times;            // a table of yopo bench --table; "": measured here, for a budget of milliseconds
};

struct CompensateOptions {
  double most_rank = 0.25;  // of hidden_size; 0: one vector a layer at most
  double ridge = 1e-3;      // see compress/low_rank.h
};

}  // namespace yopo
