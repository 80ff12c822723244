// yopo::runtime: opens a checkpoint, dense or pruned, and answers questions about images. C++17 and the standard
// library.
//
// Errors: yopo::Error for what the caller or the world got wrong (files, options, devices, a full disk), with file,
// place, expected and found in its text; std::bad_alloc; std::logic_error for a defect of this library. What a callback
// throws passes through.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace yopo {
inline namespace v0 {

/// The version of the library, "0.1.0".
std::string version();

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A call ended because its `stop` said so. What was done is safe on disk.
class Stopped : public Error {
 public:
  using Error::Error;
};

struct ModelOptions {
  std::string device = "auto";  // cpu, cuda, auto: cuda where there is one
  std::string dtype = "auto";   // fp32, bf16, on a GPU fp16; auto: as stored where the device is fast at it
  int threads = 0;              // of the CPU; 0: all
  std::int64_t memory = 0;      // bytes for weights, KV caches and activations; layers beyond are streamed; 0: no limit
  bool dense = false;           // a pruned checkpoint runs whole
  std::filesystem::path plan;   // a plan.json to run under instead of the checkpoint's own
  std::string chat_template;    // by name, instead of the checkpoint's own
};

/// How tokens are drawn, in this order: logits are divided by the temperature, the top_k largest stay, of these the
/// most probable that together reach top_p stay, one is drawn by its probability among them.
struct Sampler {
  double temperature = 0;  // 0: the most probable token, always
  std::int64_t top_k = 0;  // 0: all
  double top_p = 1;        // above 0, at most 1
};

struct AnswerOptions {
  std::int64_t max_new_tokens = 128;
  Sampler sampler;
  std::uint64_t seed = 0;         // the same seed draws the same tokens
  std::vector<std::string> stop;  // the answer ends before the first of these texts
};

/// A token of an answer and the text that it made certain: whole UTF-8 characters, often none.
struct AnswerToken {
  std::int64_t id = 0;
  std::string_view text;  // valid during the call
};
/// Hears each token as it is chosen; false ends the answer with it. What comes after the last token (text that waited
/// for it) is heard with id -1. Must not use the model.
using OnToken = std::function<bool(const AnswerToken&)>;

enum class AnswerEnd { Finished, Limit, StopText, Callback };

struct Answer {
  std::string text;                  // without white space at its ends, without special tokens
  std::vector<std::int64_t> tokens;  // those chosen; of an answer that a stop text ended, that text's too
  AnswerEnd end = AnswerEnd::Finished;
  std::int64_t prompt_tokens = 0, visual_tokens = 0;  // the latter are among the former
  double prefill_seconds = 0, decode_seconds = 0;
};

/// An open checkpoint. May be used from several threads: calls wait for one another. Models are independent of each
/// other.
class Model {
 public:
  /// A Hugging Face checkpoint folder; one that yopo exported runs pruned. Error if anything in it is missing or
  /// damaged.
  explicit Model(const std::filesystem::path& folder, const ModelOptions& options = {});
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  /// The user's turn `prompt` about the images (PNG or JPEG files, in the order the model sees them; none: text alone).
  Answer generate(const std::vector<std::filesystem::path>& images, const std::string& prompt,
                  const AnswerOptions& options = {}, const OnToken& on_token = {});

  std::string family() const;   // "llava", "qwen2_vl", ...
  std::int64_t layers() const;  // of the language model
  bool pruned() const;          // it runs under a plan that leaves something out

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// How far a piece of work has come.
struct WorkReport {
  std::string what, unit;  // "calibrating", "samples"
  double done = 0;         // units; a fraction where one takes long
  std::int64_t total = 0;  // 0: unknown
  double seconds = 0;
  bool finished = false;
};

/// Hears of progress, notes and warnings, one call at a time, from the thread that works. What is empty drops what it
/// would hear. Must not throw, nor call this library.
struct Listener {
  std::function<void(const std::string& line)> note;
  std::function<void(const std::string& line)> warning;
  std::function<void(const WorkReport& report)> progress;  // at most every tenth of a second, and at the end
};

/// Progress, notes and warnings of the whole process go to `listener` from now on; `Listener()` silences them. Until
/// then they go to stderr. From any thread.
void set_listener(Listener listener);

}  // namespace v0
}  // namespace yopo
