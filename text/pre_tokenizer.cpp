#include "text/pre_tokenizer.h"

#include <array>

#include "core/error.h"
#include "text/tokenizer_parts.h"
#include "text/unicode.h"

namespace yopo {

namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// The alphabet: printable Latin-1 characters stand for themselves, the other 68 bytes for U+0100 and on, in order.
struct Alphabet {
  std::array<char32_t, 256> character{};
  std::array<int, 0x144> byte{};  // by character; -1: none

  Alphabet() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      character[size_t(b)] = printable ? char32_t(b) : next++;
      byte[character[size_t(b)]] = b;
    }
    ensure(next == byte.size(), "the byte alphabet has 256 characters");
  }
};

const Alphabet& byte_alphabet() {
  static const Alphabet table;
  return table;
}

SplitPattern parse_split(const Json& object, const std::string& where) {
  const std::string behavior = get_string(object, "behavior", where);
  require(behavior == "Isolated", "{}: Split: behavior '{}' is not supported; expected Isolated", where,
          printable(behavior));
  require(!get_bool_or(object, "invert", where, false), "{}: Split: invert is not supported", where);
  const Json& pattern = get_object(object, "pattern", where);
  require(has(pattern, "Regex"), "{}: Split: a pattern of kind '{}' is not supported; supported is Regex", where,
          pattern.empty() ? "" : printable(pattern.begin().key()));
  return SplitPattern(get_string(pattern, "Regex", where), where + ": Split");
}

void apply(const Metaspace& space, std::string_view piece, bool first, std::vector<std::string>& out) {
  std::string text = replace_all(piece, " ", space.mark);
  const bool wanted =
      space.prepend == Metaspace::Prepend::Always || (space.prepend == Metaspace::Prepend::First && first);
  if (wanted && !text.starts_with(space.mark)) text = space.mark + text;
  if (!space.split) return out.push_back(std::move(text));
  for (size_t start = 0; start < text.size();) {
    const bool marked = std::string_view(text).substr(start).starts_with(space.mark);
    const size_t end = std::min(text.find(space.mark, start + space.mark.size() * marked), text.size());
    out.push_back(text.substr(start, end - start));
    start = end;
  }
}

void apply(const SplitPattern& pattern, std::string_view piece, bool, std::vector<std::string>& out) {
  std::vector<std::string_view> parts;
  pattern.split(piece, parts);
  out.insert(out.end(), parts.begin(), parts.end());
}

void apply(const ByteLevel& bytes, std::string_view piece, bool, std::vector<std::string>& out) {
  const std::string text = (bytes.add_prefix_space && !piece.starts_with(' ') ? " " : "") + std::string(piece);
  if (!bytes.use_regex) return out.push_back(bytes_to_characters(text));
  static const SplitPattern gpt2(kGpt2Pattern, "GPT-2's pattern");
  std::vector<std::string_view> parts;
  gpt2.split(text, parts);
  for (const std::string_view part : parts) out.push_back(bytes_to_characters(part));
}

}  // namespace

Metaspace parse_metaspace(const Json& object, const std::string& where) {
  Metaspace space;
  space.mark = get_string(object, "replacement", where);
  require(!space.mark.empty() && first_code_point(space.mark).bytes == space.mark.size(),
          "{}: replacement: expected one character, found '{}'", where, printable(space.mark));
  const std::string scheme = get_string_or(object, "prepend_scheme", where, "always");
  require(scheme == "always" || scheme == "first" || scheme == "never",
          "{}: prepend_scheme: expected always, first or never, found '{}'", where, printable(scheme));
  space.prepend = scheme == "always"  ? Metaspace::Prepend::Always
                  : scheme == "first" ? Metaspace::Prepend::First
                                      : Metaspace::Prepend::Never;
  if (!get_bool_or(object, "add_prefix_space", where, true)) {
    // Files older than prepend_scheme say it this way.
    require(!has(object, "prepend_scheme") || scheme == "never",
            "{}: add_prefix_space false contradicts prepend_scheme '{}'", where, scheme);
    space.prepend = Metaspace::Prepend::Never;
  }
  space.split = get_bool_or(object, "split", where, true);
  return space;
}

std::vector<PreTokenizer> read_pre_tokenizer(const Json& object, const std::string& where) {
  std::vector<PreTokenizer> steps;
  for (const Json& part : tokenizer_parts::members(object, "pretokenizers", where)) {
    const std::string type = get_string(part, "type", where);
    if (type == "Metaspace") {
      steps.emplace_back(parse_metaspace(part, where));
    } else if (type == "Split") {
      steps.emplace_back(parse_split(part, where));
    } else if (type == "ByteLevel") {
      steps.emplace_back(
          ByteLevel{get_bool_or(part, "add_prefix_space", where, true), get_bool_or(part, "use_regex", where, true)});
    } else {
      tokenizer_parts::unknown_component(where, type, {"none", "Sequence", "Metaspace", "Split", "ByteLevel"});
    }
  }
  return steps;
}

std::vector<std::string> pre_tokenize(const std::vector<PreTokenizer>& steps, std::string_view text, bool first) {
  std::vector<std::string> pieces = {std::string(text)};
  for (const PreTokenizer& step : steps) {
    std::vector<std::string> next;
    for (size_t i = 0; i < pieces.size(); ++i)
      std::visit([&](const auto& rule) { apply(rule, pieces[i], first && i == 0, next); }, step);
    pieces = std::move(next);
  }
  return pieces;
}

std::string bytes_to_characters(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char b : bytes) append_utf8(out, byte_alphabet().character[uint8_t(b)]);
  return out;
}

std::string characters_to_bytes(std::string_view token) {
  std::string out;
  for (std::string_view rest = token; !rest.empty();) {
    const CodePoint point = first_code_point(rest);
    const int byte = point.value < byte_alphabet().byte.size() ? byte_alphabet().byte[point.value] : -1;
    if (byte < 0) return std::string(token);
    out += char(byte);
    rest.remove_prefix(point.bytes);
  }
  return out;
}

}  // namespace yopo
