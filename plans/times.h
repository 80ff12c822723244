// How long a decoder layer's work takes on one machine, as `yopo bench --table` measured it: what a budget of
// milliseconds is counted with.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "plans/cost.h"

namespace yopo {

/// All times are of one prompt alone, in milliseconds.
struct TimeTable {
  std::string device, cpu, dtype;  // cpu: what the operating system calls it
  int64_t threads = 0;             // 0: all
  int64_t hidden_size = 0, num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0, intermediate_size = 0;

  /// Matrix products: `out` of [rows, hidden_size] with a weight [width, hidden_size], `in` of [rows, width] with a
  /// weight [hidden_size, width], added to fp32. [rows.size() * widths.size()], by rows first.
  std::vector<int64_t> rows, widths;  // ascending
  std::vector<double> out, in;

  double norm = 0;                           // RMSNorm of a row
  double rope = 0, store = 0;                // of a row and head
  double gated = 0;                          // of a row and neuron
  double text_pair = 0, visual_pair = 0;     // attention of a pair (query, key) in a head, without a window
  double window_query = 0, window_pair = 0;  // with one, visual queries
  double layer_scale = 1;                    // of a whole layer, over the sum of the above
  double fixed = 0;                          // of a prefill apart from its layers: set-up, last norm, lm_head
};

/// Between measured rows and widths linearly, beyond them in proportion; nothing takes nothing.
double product_time(const TimeTable& table, const std::vector<double>& times, double rows, double width);
/// Prefill of one layer, text included: what runtime/decoder.cpp issues for it, one by one.
double layer_time(const TimeTable& table, const LayerPlan& layer, const DecoderSpec& spec, const PromptShape& prompt);
/// Prefill of a whole prompt up to the logits of its last row, without the vision tower.
double prefill_time(const TimeTable& table, const Plan& plan, const DecoderSpec& spec, const PromptShape& prompt);

/// Strict, as every file of ours: UserError naming file and place.
TimeTable read_times(const fs::path& path);
Json times_to_json(const TimeTable& table);
/// UserError naming `where` and both sizes where the table is of another model's layers or of another kind of
/// computation (device, dtype).
void check_times(const TimeTable& table, const DecoderSpec& spec, const std::string& device, const std::string& dtype,
                 const std::string& where);

}  // namespace yopo
