#include <algorithm>
#include <numeric>

#include "calibration/statistics.h"
#include "cli/output.h"
#include "cli/plan_flags.h"
#include "compress/make_plan.h"
#include "formats/npy.h"

namespace yopo::cli {

namespace {

/// The options of plan.heads without their section: --keep, --exempt-layers; a ready mask is not to be made.
std::string headmask_flag(const PlanOption& option) {
  if (option.section() != "heads" || option.name() == "mask") return "";
  return flag_of(option.name());
}

struct HeadmaskFlags {
  std::string stats, output;
  std::shared_ptr<PlanFlags> options = std::make_shared<PlanFlags>();
};

int headmask_command(const HeadmaskFlags& flags, const Context& context) {
  const PlanOptions options = flags.options->options("headmask", headmask_flag);
  need(options.heads.has_value(), "headmask", "give either --threshold or --keep");
  const HeadMask mask = select_heads(read_statistics(flags.stats), *options.heads,
                                     flag_place("headmask", headmask_flag).section("heads"));
  write_npy_bool(flags.output, mask);
  Json counts = Json::array();
  int64_t kept = 0, all = 0;
  for (const auto& layer : mask) {
    const int64_t count = std::accumulate(layer.begin(), layer.end(), int64_t(0));
    counts.push_back(count);
    kept += count;
    all += int64_t(layer.size());
  }
  if (context.json) {
    print_json({{"output", flags.output}, {"kept", kept}, {"heads", all}, {"per_layer", counts}});
  } else {
    print(fmt::format("{}: {} of {} heads kept; per layer {}\n", escaped(flags.output), kept, all, counts.dump()));
  }
  return 0;
}

}  // namespace

void add_headmask(CLI::App& app, Context& context) {
  auto flags = std::make_shared<HeadmaskFlags>();
  CLI::App* command = add_command(app, context, Runs::Nothing, "headmask",
                                  "Write a head mask (.npy of bool [layers, heads]) from statistics",
                                  "yopo headmask --stats stats.h5 --threshold 0.035 --vote 0.4 --output headmask.npy");
  command->add_option("--stats", flags->stats, "Statistics file")->required();
  add_plan_flags(command, flags->options, headmask_flag);
  command->add_option("--output", flags->output, "Mask file to write")->required();
  command->callback(
      [flags, &context] { context.run = [flags, &context] { return headmask_command(*flags, context); }; });
}

}  // namespace yopo::cli
