#include <cstdio>
#include <numeric>

#include "calibration/statistics.h"
#include "cli/command.h"
#include "compress/make_plan.h"
#include "formats/npy.h"

namespace yopo::cli {

void add_headmask(CLI::App& app, Context& context) {
  struct Flags {
    std::string stats, keep, output;
    std::optional<double> threshold, vote;
    std::optional<int64_t> exempt_layers;
    std::string scope = "layer";
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, context, "headmask", "Write a head mask (.npy of bool [layers, heads]) from statistics",
                  "yopo headmask --stats stats.h5 --threshold 0.035 --vote 0.4 --output headmask.npy");
  command->add_option("--stats", flags->stats, "Statistics file")->required();
  command->add_option("--threshold", flags->threshold, "Keep heads whose ratio exceeds this in enough samples");
  command->add_option("--vote", flags->vote, "The share of samples that must be exceeded (0.4)");
  command->add_option("--exempt-layers", flags->exempt_layers, "First layers that keep all heads (2 with --threshold)");
  command->add_option("--keep", flags->keep, "Instead of a threshold: a count or a fraction");
  command->add_option("--scope", flags->scope, "layer or model, with --keep");
  command->add_option("--output", flags->output, "Mask file to write")->required();
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      need(flags->threshold.has_value() != !flags->keep.empty(), "headmask", "give either --threshold or --keep");
      require(flags->scope == "layer" || flags->scope == "model", "--scope: expected layer or model, found '{}'{}",
              flags->scope, did_you_mean(flags->scope, {"layer", "model"}));
      HeadOptions options;
      if (!flags->keep.empty()) options.keep = parse_keep(flags->keep, "--keep");
      options.threshold = flags->threshold;
      if (flags->vote) options.vote = *flags->vote;
      options.exempt_layers = flags->exempt_layers;
      options.scope = flags->scope == "layer" ? Scope::Layer : Scope::Model;
      const HeadMask mask = select_heads(read_statistics(flags->stats), options, "yopo headmask");
      write_npy_bool(flags->output, mask);
      Json counts = Json::array();
      int64_t kept = 0, all = 0;
      for (const auto& layer : mask) {
        const int64_t count = std::accumulate(layer.begin(), layer.end(), int64_t(0));
        counts.push_back(count);
        kept += count;
        all += int64_t(layer.size());
      }
      if (context.json) {
        print_json({{"output", flags->output}, {"kept", kept}, {"heads", all}, {"per_layer", counts}});
      } else {
        std::printf("%s: %ld of %ld heads kept; per layer %s\n", flags->output.c_str(), long(kept), long(all),
                    counts.dump().c_str());
      }
      return 0;
    };
  });
}

}  // namespace yopo::cli
