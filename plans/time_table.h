// Measured times of a layer's parts on one machine: what a budget in milliseconds is priced by (`yopo bench --table`).
#pragma once

#include "core/json.h"
#include "plans/cost.h"

namespace yopo {

/// Times of products over a grid of row counts and widths, both ascending. Between them linearly in both, outside in
/// proportion.
struct ProductTimes {
  std::vector<int64_t> rows, widths;
  std::vector<double> ms;  // [rows][widths]
  double at(int64_t rows, int64_t width) const;
};

struct TimeTable {
  std::string machine, device, dtype;
  int64_t threads = 0;
  /// Of the model that it was measured for; a model of the same sizes may use it, whatever its depth.
  int64_t hidden_size = 0, intermediate_size = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab_size = 0;
  ProductTimes into, out_of;  // rows x hidden_size to a width, and back (added to fp32)
  double gated_ns = 0;        // the FFN's activation, an element
  double pair_ns = 0;         // attention without a window, a (query, key) pair of a head
  /// Attention within windows: of visual rows among themselves, a row and head, by size (ascending).
  std::vector<std::pair<int64_t, double>> window_ns;
  double row_us = 0;    // all that a layer does beside, a row
  double fixed_ms = 0;  // all that a prefill does beside its layers
};

double layer_ms(const TimeTable& table, const LayerPlan& layer, const PromptShape& prompt);
double prefill_ms(const TimeTable& table, const Plan& plan, const PromptShape& prompt);

Json time_table_to_json(const TimeTable& table);
/// UserError for what is no such table, naming the place.
TimeTable read_time_table(const fs::path& file);
/// UserError naming `file` where it was measured for other sizes, another device or type.
void check_time_table(const TimeTable& table, const DecoderSpec& spec, const std::string& device,
                      const std::string& dtype, const std::string& file);

}  // namespace yopo
