#include "cli/command.h"
#include "cli/output.h"
#include "models/context.h"
#include "pipeline/stages.h"
#include "text/text_stream.h"

namespace yopo::cli {

void add_generate(CLI::App& app, Context& context) {
  struct Flags {
    std::string model, prompt, plan, budget, dtype = "auto", device = "auto";
    PromptOptions prompts;
    std::vector<std::string> images;
    runtime::GenerateOptions options;
    bool dense = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, context, Runs::Model, "generate", "Answer one question about images, as it comes",
                  "yopo generate --model out/demo/pruned --image examples/digitgrid/data/test/images/0000.png \\\n"
                  "      --prompt \"How many digits are there?\"");
  command->add_option("--model", flags->model, "Checkpoint folder; a pruned one runs pruned")->required();
  command->add_option("--image", flags->images, "Image file; may be given more than once");
  command->add_option("--prompt", flags->prompt, "The user's turn")->required();
  add_prompt_flags(command, flags->prompts);
  command->add_option("--max-new-tokens", flags->options.max_new_tokens, "At most this many tokens")
      ->check(whole_number(1, int64_t(1) << 20))
      ->capture_default_str();
  runtime::Sampling& sampling = flags->options.sampling;
  command->add_option("--temperature", sampling.temperature, "0: the most probable token, always; above: draw");
  command->add_option("--top-k", sampling.top_k, "Draw among the K most probable tokens (0: all)")
      ->check(whole_number(0));
  command->add_option("--top-p", sampling.top_p, "Draw among the most probable that together reach P");
  command->add_option("--seed", sampling.seed, "The same seed draws the same answer")->check(whole_number(0));
  command->add_flag("--dense", flags->dense, "Run a pruned checkpoint whole");
  command->add_option("--plan", flags->plan, "Run under another plan");
  add_budget_flag(command, flags->budget);
  command->add_option("--dtype", flags->dtype, "auto, fp32, bf16, or on a GPU fp16")->check(dtype_name());
  command->add_option("--device", flags->device, "cpu, cuda, cuda:N or auto")->check(device_name());
  command->callback([flags, &context] {
    context.run = [flags, &context] {
      runtime::check_sampling(flags->options.sampling, flag_of);
      for (const std::string& image : flags->images)
        require(fs::is_regular_file(image), "--image: {}: no such file", image);
      const OpenModel model = open_model(flags->model);
      const Plan plan = choose_plan(model, flags->dense, flags->plan, flags->budget);
      const Processor processor(model, flags->prompts);  // before the weights: its mistakes show at once
      const std::vector<fs::path> images(flags->images.begin(), flags->images.end());
      const ModelInput input = processor.prepare(flags->prompt, images, "generate");
      ContextWatch(model.spec).look(input.length(), flags->options.max_new_tokens, "generate");
      const runtime::Engine engine(model, plan, engine_options(context.settings(), flags->dtype, flags->device));
      runtime::GenerateOptions options = flags->options;
      TextStream stream(processor.tokenizer());
      if (!context.json)
        options.chosen = [&](int64_t, int64_t token) {
          print_exactly(stream.add(token));
          return true;
        };
      const runtime::Generated generated = engine.generate({input}, options).at(0);
      if (context.json) {
        const runtime::Counters& counters = engine.counters();
        print_json({{"text", processor.text_of(generated.tokens)},
                    {"tokens", generated.tokens},
                    {"stopped", generated.stopped},
                    {"input_ids", input.input_ids},
                    {"visual_tokens", input.visual_tokens()},
                    {"prefill_flops", counters.prefill.flops()},
                    {"decode_flops", counters.decode.flops()},
                    {"kv_peak_bytes", counters.kv_peak_bytes},
                    {"prefill_ms", counters.prefill_seconds * 1e3},
                    {"decode_ms", counters.decode_seconds * 1e3}});
      } else {
        print_exactly(stream.finish() + "\n");
      }
      return 0;
    };
  });
}

}  // namespace yopo::cli
