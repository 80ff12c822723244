#include "yopo/inspect.h"

#include "calibration/statistics.h"
#include "compress/make_plan.h"
#include "core/values.h"
#include "exporters/report.h"
#include "library/boundary.h"
#include "pipeline/stages.h"
#include "plans/option_schema.h"

namespace yopo {
inline namespace v0 {

struct StatisticsFile::State {
  std::string file;
  Statistics all;
};

StatisticsFile::StatisticsFile(const std::filesystem::path& file)
    : state_(library::at_boundary([&] {
        return std::make_unique<State>(State{file.string(), read_statistics(file)});
      })) {}
StatisticsFile::~StatisticsFile() = default;
StatisticsFile::StatisticsFile(StatisticsFile&&) noexcept = default;
StatisticsFile& StatisticsFile::operator=(StatisticsFile&&) noexcept = default;

std::int64_t StatisticsFile::layers() const { return state_->all.layers; }
std::int64_t StatisticsFile::heads() const { return state_->all.heads; }
std::int64_t StatisticsFile::neurons() const { return state_->all.intermediate_size; }
std::int64_t StatisticsFile::samples() const { return state_->all.samples(); }
std::string StatisticsFile::queries() const { return std::string(name_of(state_->all.queries)); }
std::string StatisticsFile::fingerprint() const { return state_->all.fingerprint; }
std::string StatisticsFile::missing_parts() const { return yopo::missing_parts(state_->all); }
const std::vector<std::string>& StatisticsFile::ids() const { return state_->all.ids; }
const std::vector<double>& StatisticsFile::ratio() const { return state_->all.ratio; }
const std::vector<double>& StatisticsFile::abs_sum() const { return state_->all.abs_sum; }
const std::vector<double>& StatisticsFile::square_sum() const { return state_->all.square_sum; }
const std::vector<double>& StatisticsFile::active() const { return state_->all.active; }
const std::vector<std::int64_t>& StatisticsFile::rows() const { return state_->all.rows; }
const std::vector<double>& StatisticsFile::column_norm() const { return state_->all.column_norm; }

std::vector<double> StatisticsFile::mean_ratio() const {
  const size_t S = size_t(samples()), size = size_t(layers() * heads());
  std::vector<double> mean(size, 0);
  for (size_t s = 0; s < S; ++s)
    for (size_t i = 0; i < size; ++i) mean[i] += state_->all.ratio[s * size + i] / double(S);
  return mean;
}

std::vector<double> StatisticsFile::neuron_scores(const std::string& score) const {
  return library::at_boundary(
      [&] { return yopo::neuron_scores(state_->all, parse_score(score, "neuron_scores"), OptionPlace(state_->file)); });
}

namespace {

Json report_of(const std::filesystem::path& file, const std::filesystem::path& model) {
  const Plan plan = read_plan(file);
  const ModelSpec spec = spec_of(model);
  check_plan(plan, spec.text, file.string());
  return report(plan, spec, typical_prompt(spec), running_type(spec));
}

}  // namespace

std::string plan_report(const std::filesystem::path& plan, const std::filesystem::path& model) {
  return library::at_boundary([&] { return report_of(plan, model).dump(); });
}

std::string plan_report_text(const std::filesystem::path& plan, const std::filesystem::path& model) {
  return library::at_boundary([&] { return report_text(report_of(plan, model)); });
}

void copy_plan(const std::filesystem::path& from, const std::filesystem::path& to) {
  library::at_boundary([&] { write_plan(to, read_plan(from)); });
}

std::vector<PlanOptionInfo> plan_options() {
  std::vector<PlanOptionInfo> all;
  for (const PlanOption& option : plan_option_schema())
    all.push_back({option.key, option.flag, option.fallback, option.help});
  return all;
}

std::int64_t parse_bytes(const std::string& size) {
  return library::at_boundary([&] { return std::int64_t(parse_size(size, "size")); });
}

}  // namespace v0
}  // namespace yopo
