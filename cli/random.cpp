#include "cli/command.h"
#include "cli/output.h"
#include "core/values.h"
#include "exporters/random_checkpoint.h"
#include "exporters/report.h"

namespace yopo::cli {

void add_random(CLI::App& app, Context& context) {
  struct Flags {
    std::string config, output, dtype, shard_size = "5GB";
    RandomOptions options;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command = add_command(
      app, context, Runs::Nothing, "random",
      "Write a checkpoint of an architecture's full size with random weights. It has no tokenizer and no image "
      "rules, which calibrate, verify, eval and generate need: benchmarks/make_tokenizer.py DIR adds them",
      "yopo random --config configs/models/llava-1.5-7b.json --output random-7b --layers 4");
  command->add_option("--config", flags->config, "A config.json, or a folder that holds one")->required();
  command->add_option("--output", flags->output, "Folder to write; must not hold anything")->required();
  command->add_option("--seed", flags->options.seed, "Of the random numbers")->check(whole_number(0));
  command->add_option("--dtype", flags->dtype, "bf16, fp16 or fp32 (default: the config's own, else bf16)")
      ->check(dtype_name(false));
  command->add_option("--shard-size", flags->shard_size, "Bytes of tensors in one file: 5GB, 512MiB, ...; 0: one file");
  command->add_option("--layers", flags->options.layers, "Cut to this many decoder layers (0: all)")
      ->check(whole_number(0, "all"));
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      RandomOptions options = flags->options;
      if (!flags->dtype.empty()) options.dtype = dtype_from_name(flags->dtype);
      options.shard_size = parse_size(flags->shard_size, "--shard-size");
      options.threads = context.threads;
      const RandomCheckpoint made = write_random_checkpoint(flags->config, flags->output, options);
      if (context.json)
        print_json(
            {{"output", flags->output}, {"parameters", made.parameters}, {"bytes", made.bytes}, {"files", made.files}});
      else
        print(fmt::format("{}: {}parameters, {}B\n", escaped(flags->output), scaled(double(made.parameters)),
                          scaled(double(made.bytes))));
      return 0;
    };
  });
}

}  // namespace yopo::cli
