#include "models/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <span>

#include "core/error.h"
#include "datasets/unicode.h"
#include "datasets/unicode_tables.h"

namespace yopo {

namespace {

constexpr size_t kLongestPattern = 4096;
constexpr uint32_t kMatchLimit = 10'000'000, kHeapLimit = 64 * 1024;  // steps; KiB
constexpr char32_t kLast = 0x10FFFF;

/// \s of Oniguruma: the White_Space property. PCRE2's own \s has U+180E besides.
constexpr unicode::Range kSpaces[] = {{0x09, 0x0D},     {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},
                                      {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                                      {0x205F, 0x205F}, {0x3000, 0x3000}};

/// Letters that together may match one character when case is ignored (a ligature, a sharp s): PCRE2 does not do that.
constexpr std::string_view kFolded[] = {"ss", "ff", "fi", "fl", "st"};

/// The members of a class, as the inside of [...].
std::string class_text(std::span<const unicode::Range> table, bool negated) {
  std::string out;
  const auto write = [&](char32_t first, char32_t last) {
    out += first == last ? fmt::format("\\x{{{:x}}}", uint32_t(first))
                         : fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", uint32_t(first), uint32_t(last));
  };
  char32_t next = 0;
  for (const unicode::Range& range : table) {
    if (!negated) {
      write(range.first, range.last);
    } else if (next < range.first) {
      write(next, range.first - 1);
    }
    next = range.last + 1;
  }
  if (negated && next <= kLast) write(next, kLast);
  return out;
}

/// Rewrites a pattern for PCRE2, or refuses it.
class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (!done()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        open_group();
      } else if (c == '{') {
        counted();
      } else if (c == '.' || c == '^' || c == '$' || c == '}' || c == ']') {
        refuse(fmt::format("'{}'", c));
      } else {
        copy();  // a literal, |, ), *, +, ?
      }
    }
    return std::move(out_);
  }

 private:
  bool done() const { return at_ >= pattern_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool take(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  void copy() { out_ += pattern_[at_++]; }
  [[noreturn]] void refuse(const std::string& what) const {
    fail("{}: {} is not supported at character {} of the pattern '{}'", where_, what, at_ + 1, printable(pattern_));
  }

  /// A backslash; true if it stands for one character and may thus begin or end a range.
  bool escape(bool in_class) {
    const char c = peek(1);
    const auto set = [&](std::span<const unicode::Range> table, bool negated) {
      const std::string text = class_text(table, negated);
      out_ += in_class ? text : "[" + text + "]";
      return false;
    };
    if (take("\\s")) return set(kSpaces, false);
    if (take("\\S")) return set(kSpaces, true);
    if (c == 'p' || c == 'P') {
      const size_t start = at_;
      at_ += 2;
      const bool turned = peek(1) == '^';
      const char name = peek(turned ? 2 : 1);
      const bool negated = (c == 'P') != turned;
      if (peek() != '{' || peek(turned ? 3 : 2) != '}') name_refused(start);
      at_ += turned ? 4 : 3;
      if (name == 'L') return set(unicode::letters, negated);
      if (name == 'M') return set(unicode::marks, negated);
      if (name == 'N') return set(unicode::numbers, negated);
      name_refused(start);
    }
    if (c != 'r' && c != 'n' && c != 't' && !(uint8_t(c) < 0x80 && std::ispunct(uint8_t(c))))
      refuse(fmt::format("'\\{}'", printable(std::string_view(&c, 1))));
    copy();
    copy();
    return true;
  }
  [[noreturn]] void name_refused(size_t start) {
    at_ = start;
    refuse("this \\p (supported are L, M and N)");
  }

  void character_class() {
    copy();
    if (peek() == '^') copy();
    if (peek() == ']') refuse("']' at the start of a class");
    bool single = false;  // the last member is one character that no range has used
    while (peek() != ']') {
      if (done()) refuse("a class without end");
      if (peek() == '[') refuse("'[' in a class");
      if (take("&&")) refuse("'&&' in a class");
      if (peek() == '-') {
        if (!single || peek(1) == ']' || peek(1) == '[' || peek(1) == '-') refuse("'-' that makes no range");
        copy();
        if (!member()) refuse("a range that ends with a class");
        single = false;
      } else {
        single = member();
      }
    }
    copy();
  }
  bool member() {
    if (peek() == '\\') return escape(true);
    if (done()) refuse("a class without end");
    const size_t bytes = first_code_point(pattern_.substr(at_)).bytes;
    for (size_t i = 0; i < bytes; ++i) copy();
    return true;
  }

  void open_group() {
    if (take("(?i:")) return case_ignored();
    for (const std::string_view known : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"})
      if (take(known)) {
        out_ += known;
        return;
      }
    if (peek(1) == '?' || peek(1) == '*') refuse("this group");
    copy();
  }

  /// (?i:'s|'t): letters and other plain ASCII only.
  void case_ignored() {
    out_ += "(?i:";
    const size_t end = pattern_.find(')', at_);
    const std::string_view inside = pattern_.substr(at_, end == std::string_view::npos ? end : end - at_);
    for (const char c : inside)
      if (uint8_t(c) >= 0x80 || std::string_view("\\[](){}*+?.^$").find(c) != std::string_view::npos)
        refuse("anything but letters in (?i:...)");
    std::string small(inside);
    std::transform(small.begin(), small.end(), small.begin(), [](char c) { return char(std::tolower(uint8_t(c))); });
    for (const std::string_view pair : kFolded)
      if (small.find(pair) != std::string::npos) refuse(fmt::format("'{}' in (?i:...)", pair));
    out_ += inside;
    at_ += inside.size();
  }

  /// {2}, {2,} or {2,3}, without + or ? behind it, which the two libraries read differently.
  void counted() {
    const size_t end = pattern_.find('}', at_);
    const std::string_view inside =
        end == std::string_view::npos ? std::string_view() : pattern_.substr(at_ + 1, end - at_ - 1);
    const size_t comma = std::min(inside.find(','), inside.size());
    const auto digits = [](std::string_view text) {
      return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
    };
    const std::string_view rest = inside.substr(std::min(comma + 1, inside.size()));
    if (comma == 0 || !digits(inside.substr(0, comma)) || !digits(rest)) refuse("this '{'");
    while (at_ <= end) copy();
    if (peek() == '+' || peek() == '?') refuse("a sign behind '}'");
  }

  std::string_view pattern_;
  const std::string& where_;
  size_t at_ = 0;
  std::string out_;
};

std::string message_of(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

template <typename T, void (*Free)(T*)>
struct Freed {
  void operator()(T* pointer) const { Free(pointer); }
};
using MatchData = std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data, pcre2_match_data_free>>;
using MatchContext = std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context, pcre2_match_context_free>>;

}  // namespace

SplitPattern::SplitPattern(std::string_view pattern, std::string where) : where_(std::move(where)) {
  require(!pattern.empty() && pattern.size() <= kLongestPattern && valid_utf8(pattern),
          "{}: expected a pattern of 1 to {} bytes", where_, kLongestPattern);
  const std::string text = Translator(pattern, where_).run();
  int code = 0;
  PCRE2_SIZE place = 0;
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), PCRE2_UTF, &code, &place, nullptr);
  require(compiled != nullptr, "{}: the pattern '{}' does not compile: {}", where_, printable(pattern),
          compiled == nullptr ? message_of(code) : "");
  code_ = std::shared_ptr<const pcre2_code>(compiled,
                                            [](const pcre2_code* p) { pcre2_code_free(const_cast<pcre2_code*>(p)); });
}

void SplitPattern::split(std::string_view text, std::vector<std::string_view>& parts) const {
  const MatchData match(pcre2_match_data_create(1, nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  ensure(match && context, "no memory for matching");
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_heap_limit(context.get(), kHeapLimit);
  const auto add = [&](size_t start, size_t end) {
    if (start < end) parts.push_back(text.substr(start, end - start));
  };
  size_t done = 0, from = 0, last_end = std::string_view::npos;
  while (from <= text.size() && !text.empty()) {
    // The text is well-formed; checking it at every match would make the whole quadratic.
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                                  PCRE2_NO_UTF_CHECK, match.get(), context.get());
    if (found == PCRE2_ERROR_NOMATCH) break;
    require(found >= 0, "{}: the pattern cannot be matched on a text of {} bytes: {}", where_, text.size(),
            message_of(found));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.get());
    const size_t start = ends[0], end = ends[1];
    if (start == end && start == last_end) {
      // An empty match right behind the last one does not count: on by one character, as the reference does.
      if (from >= text.size()) break;
      from += first_code_point(text.substr(from)).bytes;
      continue;
    }
    add(done, start);
    add(start, end);
    done = from = last_end = end;
  }
  add(done, text.size());
}

}  // namespace yopo
