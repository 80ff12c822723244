#include "plans/option_schema.h"

#include "core/error.h"
#include "plans/plan.h"

namespace yopo {
namespace {

using OptionKind = PlanOption::Kind;
using Value = std::optional<OptionValue>;

constexpr double most_layers = 100'000;

/// The member of PlanOptions that a section fills, made when its first option is set.
template <typename Section>
using Member = std::optional<Section> PlanOptions::*;

template <typename Section>
Section& made(PlanOptions& options, Member<Section> member) {
  auto& section = options.*member;
  return section ? *section : section.emplace();
}

/// An option of a section: `set` and `get` see the section alone.
template <typename Section, typename Set, typename Get>
PlanOption in_section(Member<Section> member, PlanOption option, Set set, Get get) {
  option.set = [=](PlanOptions& options, const OptionValue& value) { set(made(options, member), value); };
  option.get = [=](const PlanOptions& options) -> Value {
    const auto& section = options.*member;
    return section ? get(*section) : Value();
  };
  return option;
}

Scope scope_of(const OptionValue& value) {
  return std::get<std::string>(value) == "model" ? Scope::Model : Scope::Layer;
}

void add_window(std::vector<PlanOption>& schema) {
  const auto member = &PlanOptions::window;
  schema.push_back(in_section(
      member,
      {.key = "window.size",
       .flag = "--window",
       .kind = OptionKind::OddInteger,
       .fallback = "`none`",
       .help = "side of the neighbourhood that a visual query reads, odd; `window: none`: all of it",
       .low = 1,
       .high = double(kLargestWindow)},
      [](WindowOptions& o, const OptionValue& value) { o.size = std::get<int64_t>(value); },
      [](const WindowOptions& o) -> Value { return o.size; }));
  schema.push_back(in_section(
      member,
      {.key = "window.causal",
       .flag = "--window-causal",
       .kind = OptionKind::Flag,
       .fallback = "`false`",
       .help = "only earlier neighbours",
       .beside = {"size"}},
      [](WindowOptions& o, const OptionValue& value) { o.causal = std::get<bool>(value); },
      [](const WindowOptions& o) -> Value { return o.causal; }));
}

struct HeadFlagNames {
  std::string keep, scope, threshold, vote, exempt_layers, mask;
};

void add_heads(std::vector<PlanOption>& schema, Member<HeadOptions> member, const std::string& section,
               const HeadFlagNames& flags, const std::string& absent, const std::string& what) {
  const auto add = [&](PlanOption option, auto set, auto get) {
    option.key = section + "." + option.key;
    schema.push_back(in_section(member, std::move(option), set, get));
  };
  add(
      {.key = "keep",
       .flag = flags.keep,
       .kind = OptionKind::Keep,
       .fallback = absent,
       .help = what +
               ": a count (`24`) or a fraction of all heads with a decimal point (`0.75`; `1` is one head, `1.0` "
               "all); those with the highest mean ratio"},
      [](HeadOptions& o, const OptionValue& value) { o.keep = std::get<Keep>(value); },
      [](const HeadOptions& o) -> Value { return o.keep ? Value(*o.keep) : Value(); });
  add(
      {.key = "scope",
       .flag = flags.scope,
       .kind = OptionKind::Word,
       .fallback = "`layer`",
       .help = "rank within each layer or across the model",
       .words = {"layer", "model"},
       .beside = {"keep"}},
      [](HeadOptions& o, const OptionValue& value) { o.scope = scope_of(value); },
      [](const HeadOptions& o) -> Value { return o.keep ? Value(std::string(name_of(o.scope))) : Value(); });
  add(
      {.key = "threshold",
       .flag = flags.threshold,
       .kind = OptionKind::Number,
       .fallback = absent,
       .help = "a sample votes for a head whose ratio is above this",
       .low = 0,
       .high = 1e9},
      [](HeadOptions& o, const OptionValue& value) { o.threshold = std::get<double>(value); },
      [](const HeadOptions& o) -> Value { return o.threshold ? Value(*o.threshold) : Value(); });
  add(
      {.key = "vote",
       .flag = flags.vote,
       .kind = OptionKind::Number,
       .fallback = "0.4",
       .help = "kept with more than `vote` × samples votes",
       .low = 0,
       .high = 1,
       .beside = {"threshold"}},
      [](HeadOptions& o, const OptionValue& value) { o.vote = std::get<double>(value); },
      [](const HeadOptions& o) -> Value { return o.threshold ? Value(o.vote) : Value(); });
  add(
      {.key = "exempt_layers",
       .flag = flags.exempt_layers,
       .kind = OptionKind::Integer,
       .fallback = "2 with `threshold`, 0 with `keep`",
       .help = "first layers that keep all heads",
       .high = most_layers,
       .beside = {"keep", "threshold"}},
      [](HeadOptions& o, const OptionValue& value) { o.exempt_layers = std::get<int64_t>(value); },
      [](const HeadOptions& o) -> Value { return o.keep || o.threshold ? Value(exempt_layers(o)) : Value(); });
  add(
      {.key = "mask",
       .flag = flags.mask,
       .kind = OptionKind::Path,
       .fallback = absent,
       .help = "a ready mask file [layers, heads], `.npy` or of `torch.save`: needs no statistics"},
      [](HeadOptions& o, const OptionValue& value) { o.mask = std::get<std::string>(value); },
      [](const HeadOptions& o) -> Value { return o.mask.empty() ? Value() : Value(o.mask.string()); });
}

void add_ffn(std::vector<PlanOption>& schema) {
  const auto member = &PlanOptions::ffn;
  schema.push_back(in_section(
      member,
      {.key = "ffn.keep",
       .flag = "--ffn-keep",
       .kind = OptionKind::Keep,
       .fallback = "all",
       .help = "FFN neurons for visual tokens: a count or a fraction"},
      [](FfnOptions& o, const OptionValue& value) { o.keep = std::get<Keep>(value); },
      [](const FfnOptions& o) -> Value { return o.keep; }));
  schema.push_back(in_section(
      member,
      {.key = "ffn.score",
       .flag = "--ffn-score",
       .kind = OptionKind::Word,
       .fallback = "`wanda`",
       .help = "what ranks neurons; `wanda` is rms × norm of the down-projection's column",
       .words = {"mean_abs", "rms", "active", "wanda"},
       .beside = {"keep"}},
      [](FfnOptions& o, const OptionValue& value) { o.score = parse_score(std::get<std::string>(value), "score"); },
      [](const FfnOptions& o) -> Value { return std::string(name_of(o.score)); }));
  schema.push_back(in_section(
      member,
      {.key = "ffn.scope",
       .flag = "--ffn-scope",
       .kind = OptionKind::Word,
       .fallback = "`layer`",
       .help = "rank within each layer or across the model",
       .words = {"layer", "model"},
       .beside = {"keep"}},
      [](FfnOptions& o, const OptionValue& value) { o.scope = scope_of(value); },
      [](const FfnOptions& o) -> Value { return std::string(name_of(o.scope)); }));
  schema.push_back(in_section(
      member,
      {.key = "ffn.multiple",
       .flag = "--ffn-multiple",
       .kind = OptionKind::Integer,
       .fallback = "32 where a layer has 2048 or more and `keep` is a fraction, else 1",
       .help = "each layer keeps the nearest multiple of this: 32 suits CPUs, 128 GPUs",
       .low = 1,
       .high = 4096,
       .beside = {"keep"}},
      [](FfnOptions& o, const OptionValue& value) { o.multiple = std::get<int64_t>(value); },
      [](const FfnOptions& o) -> Value { return o.multiple ? Value(*o.multiple) : Value(); }));
}

std::vector<PlanOption> make_schema() {
  std::vector<PlanOption> schema;
  schema.push_back({.key = "budget",
                    .flag = "--budget",
                    .kind = OptionKind::Budget,
                    .fallback = "none",
                    .help = "instead of all that follows: visual FLOPs (exact) to spend, as a share of the dense "
                            "model's (`0.25`); or `{paper: 0.25}`, the same by the paper's formula, or `{kv: 8MB}`, "
                            "the KV cache of a mean prompt, text included, or `{ms: 120}`, its prefill alone, text "
                            "included, in milliseconds on this machine; a search chooses the plan (sections "
                            "`search` and `compensate`)"});
  schema.back().set = [](PlanOptions& o, const OptionValue& value) { o.budget = std::get<Budget>(value); };
  schema.back().get = [](const PlanOptions& o) { return o.budget ? Value(*o.budget) : Value(); };
  add_window(schema);
  add_heads(schema, &PlanOptions::heads, "heads",
            {"--heads-keep", "--heads-scope", "--threshold", "--vote", "--exempt-layers", "--head-mask"}, "all",
            "heads that text reads visual keys in");
  add_heads(schema, &PlanOptions::updates, "updates",
            {"--updates-keep", "--updates-scope", "--updates-threshold", "--updates-vote", "--updates-exempt-layers",
             "--updates-mask"},
            "as `heads`", "among them (never more than `heads` keeps), heads that visual queries compute");
  add_ffn(schema);
  schema.push_back({.key = "visual_layers",
                    .flag = "--visual-layers",
                    .kind = OptionKind::Keep,
                    .fallback = "all",
                    .help = "visual tokens are computed in the first layers: a count or a fraction of all"});
  schema.back().set = [](PlanOptions& o, const OptionValue& value) { o.visual_layers = std::get<Keep>(value); };
  schema.back().get = [](const PlanOptions& o) { return o.visual_layers ? Value(*o.visual_layers) : Value(); };
  schema.push_back({.key = "semantics",
                    .flag = "--semantics",
                    .kind = OptionKind::Word,
                    .fallback = "`skip`",
                    .help = "what a dropped pair does; only `skip` can be exported"});
  for (const Semantics semantics : {Semantics::Skip, Semantics::Llava, Semantics::Qwen2Vl})
    schema.back().words.emplace_back(name_of(semantics));
  schema.back().set = [](PlanOptions& o, const OptionValue& value) { o.semantics = std::get<std::string>(value); };
  schema.back().get = [](const PlanOptions& o) -> Value { return o.semantics; };
  return schema;
}

}  // namespace

std::string PlanOption::section() const {
  const size_t dot = key.find('.');
  return dot == std::string::npos ? "" : key.substr(0, dot);
}

std::string PlanOption::name() const {
  const size_t dot = key.find('.');
  return dot == std::string::npos ? key : key.substr(dot + 1);
}

const std::vector<PlanOption>& plan_option_schema() {
  static const std::vector<PlanOption> schema = make_schema();
  return schema;
}

std::string option_key(const PlanOption& option) { return option.name(); }
std::string option_flag(const PlanOption& option) { return option.flag; }

OptionPlace flag_place(std::string where, const OptionName& name) {
  return {std::move(where), [name](const std::string& key) {
            for (const PlanOption& option : plan_option_schema())
              if (option.key == key) return name(option);
            throw InternalError("no option of a plan is " + key);
          }};
}

}  // namespace yopo
