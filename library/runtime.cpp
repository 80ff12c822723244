#include "yopo/runtime.h"

#include <exception>
#include <mutex>
#include <optional>

#include "library/boundary.h"
#include "models/context.h"
#include "models/prompt.h"
#include "plans/pruned_config.h"
#include "runtime/device.h"
#include "runtime/engine.h"
#include "text/text_stream.h"
#include "text/unicode.h"

namespace yopo {
inline namespace v0 {
namespace {

runtime::Options engine_options(const ModelOptions& options) {
  runtime::Options own;
  own.dtype = options.dtype;
  own.device = options.device != "auto" ? options.device : runtime::device_available("cuda", nullptr) ? "cuda" : "cpu";
  own.threads = options.threads;
  own.memory = options.memory;
  return own;
}

Plan plan_to_run(const OpenModel& model, const ModelOptions& options) {
  const DecoderSpec& spec = model.spec.text;
  require(!options.dense || options.plan.empty(), "ModelOptions: dense and plan exclude each other");
  if (options.dense) return dense_plan(spec);
  if (options.plan.empty()) return plan_of_checkpoint(model.checkpoint, spec).value_or(dense_plan(spec));
  return read_plan(options.plan);
}

/// One answer while it comes: what the listener hears and where it ends.
class Listening {
 public:
  Listening(const Tokenizer& tokenizer, const AnswerOptions& options, const OnToken& on_token)
      : on_token_(on_token), text_(tokenizer), stop_(options.stop) {}

  /// False ends the answer.
  bool token(int64_t id) {
    const std::string part = stop_.add(text_.add(id));
    if (!tell(id, part)) return end(AnswerEnd::Callback);
    return !stop_.found() || end(AnswerEnd::StopText);
  }

  /// No more tokens come: `limit` is why, unless this knows better.
  void finish(bool limit) {
    std::string rest = stop_.add(text_.finish());
    if (stop_.found()) end_ = end_.value_or(AnswerEnd::StopText);
    rest += stop_.finish();
    if (end_ != AnswerEnd::Callback && !rest.empty()) tell(-1, rest);
    end_ = end_.value_or(limit ? AnswerEnd::Limit : AnswerEnd::Finished);
  }

  AnswerEnd ended() const { return *end_; }
  const std::string& text() const { return all_; }

 private:
  bool end(AnswerEnd why) {
    end_ = why;
    return false;
  }
  bool tell(int64_t id, const std::string& part) {
    all_ += part;
    if (!on_token_) return true;
    try {
      return on_token_({id, part});
    } catch (...) {
      throw library::FromCallback{std::current_exception()};
    }
  }

  const OnToken& on_token_;
  TextStream text_;
  StopTexts stop_;
  std::string all_;
  std::optional<AnswerEnd> end_;
};

}  // namespace

struct Model::State {
  State(const OpenModel& model, const ModelOptions& options)
      : processor(model, PromptOptions{options.chat_template, "", false}),
        engine(model, plan_to_run(model, options), engine_options(options)),
        context(model.spec) {}
  std::mutex mutex;  // an engine is for one thread at a time
  Processor processor;
  runtime::Engine engine;
  ContextWatch context;
};

Model::Model(const std::filesystem::path& folder, const ModelOptions& options)
    : state_(library::at_boundary([&] { return std::make_unique<State>(open_model(folder), options); })) {}
Model::~Model() = default;
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;

std::string Model::family() const { return state_->engine.spec().family; }
int64_t Model::layers() const { return state_->engine.spec().text.num_hidden_layers; }
bool Model::pruned() const { return !is_dense(state_->engine.plan(), state_->engine.spec().text); }

Answer Model::generate(const std::vector<std::filesystem::path>& images, const std::string& prompt,
                       const AnswerOptions& options, const OnToken& on_token) {
  return library::at_boundary([&] {
    const std::lock_guard lock(state_->mutex);
    const runtime::Engine& engine = state_->engine;
    const ModelInput input = state_->processor.prepare(prompt, images, "Model::generate");
    state_->context.look(input.length(), options.max_new_tokens, "Model::generate");
    Listening listening(state_->processor.tokenizer(), options, on_token);
    runtime::GenerateOptions generate;
    generate.max_new_tokens = options.max_new_tokens;
    generate.sampling = {options.sampler.temperature, options.sampler.top_k, options.sampler.top_p, options.seed};
    generate.chosen = [&](int64_t, int64_t token) { return listening.token(token); };
    engine.counters() = {};
    runtime::Generated generated = std::move(engine.generate({input}, generate).at(0));
    listening.finish(!generated.stopped);
    Answer answer;
    // Text that ended by itself is exact even where what was heard cannot be (text/text_stream.h).
    const bool whole = listening.ended() == AnswerEnd::Finished || listening.ended() == AnswerEnd::Limit;
    answer.text = whole ? state_->processor.text_of(generated.tokens) : std::string(strip(listening.text()));
    answer.tokens = std::move(generated.tokens);
    answer.end = listening.ended();
    answer.prompt_tokens = input.length();
    answer.visual_tokens = input.visual_tokens();
    answer.prefill_seconds = engine.counters().prefill_seconds;
    answer.decode_seconds = engine.counters().decode_seconds;
    return answer;
  });
}

}  // namespace v0
}  // namespace yopo
