// What is in the files that yopo/yopo.h writes, and the options that its plans take. Needs yopo::yopo. Errors as in
// yopo/runtime.h.
#pragma once

#include <yopo/runtime.h>

namespace yopo {
inline namespace v0 {

/// A stats.h5, read whole. Arrays are row-major; L layers, H query heads, F neurons of the FFN, S samples.
class StatisticsFile {
 public:
  explicit StatisticsFile(const std::filesystem::path& file);
  ~StatisticsFile();
  StatisticsFile(StatisticsFile&&) noexcept;
  StatisticsFile& operator=(StatisticsFile&&) noexcept;

  std::int64_t layers() const, heads() const, neurons() const, samples() const;
  std::string queries() const;        // whose attention rows were summed: prefill, text, decode
  std::string fingerprint() const;    // of checkpoint, samples and options
  std::string missing_parts() const;  // "2/3, 3/3": those of a divided calibration that are not here; "": it is whole
  const std::vector<std::string>& ids() const;     // [S]
  const std::vector<double>& ratio() const;        // [S, L, H] attention mass on visual keys / on all other keys
  const std::vector<double>& abs_sum() const;      // [L, F] sum of |activation| over visual rows
  const std::vector<double>& square_sum() const;   // [L, F] sum of activation^2
  const std::vector<double>& active() const;       // [L, F] visual rows in which |activation| exceeds the row's mean
  const std::vector<std::int64_t>& rows() const;   // [L] visual rows
  const std::vector<double>& column_norm() const;  // [L, F] norms of the down-projection's columns
  std::vector<double> mean_ratio() const;          // [L, H] mean over the samples
  /// [L, F] what plans rank neurons by: mean_abs, rms, active, wanda.
  std::vector<double> neuron_scores(const std::string& score) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What a plan keeps, layer by layer, and what it saves, as JSON: the "report" of `yopo inspect PLAN --model MODEL
/// --json` (docs/formats.md). `model`: a checkpoint folder or a config.json alone.
std::string plan_report(const std::filesystem::path& plan, const std::filesystem::path& model);
/// The same for people, as `yopo inspect` prints it.
std::string plan_report_text(const std::filesystem::path& plan, const std::filesystem::path& model);
/// Writes the plan under another name, with the vectors of its compensation beside it.
void copy_plan(const std::filesystem::path& from, const std::filesystem::path& to);

/// An option of a plan: its key in a recipe's section `plan` and its flag of `yopo plan`.
struct PlanOptionInfo {
  std::string key;       // "ffn.keep"
  std::string flag;      // "--ffn-keep"
  std::string fallback;  // the default, for people
  std::string help;
};
std::vector<PlanOptionInfo> plan_options();

/// Bytes of "16GB", "512MiB", "1000".
std::int64_t parse_bytes(const std::string& size);

}  // namespace v0
}  // namespace yopo
