#include "text/split_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <time.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <span>
#include <utility>

#include "core/error.h"
#include "text/unicode.h"
#include "text/unicode_tables.h"

namespace yopo {

namespace {

constexpr size_t kLongestPattern = 4096;
constexpr uint32_t kMatchLimit = 10'000'000;                   // steps at one place of a text
constexpr uint32_t kFirstLimit = 4096, kLeastFirstLimit = 64;  // asked for first
constexpr uint64_t kTextSteps = 20'000'000;                    // in all, where a place takes more than the first limit
constexpr double kTextSeconds = 5;                             // of the processor, for a text
// A step may run over the whole text uncounted (a*): the first limit, on a text of so many bytes, is a part of a
// second.
constexpr size_t kFirstBytes = size_t(1) << 28;
// Each limit is twice the one before, and is asked for only if a place may take so many times what it took until then:
// backtracking starts with short tails, so twice the steps take more than twice the time.
constexpr uint32_t kLimitGrowth = 2;
constexpr double kTimeGrowth = 8;
constexpr uint32_t kHeapLimit = 64 * 1024;  // KiB

/// Letters that together may match one character when case is ignored (a ligature, a sharp s): PCRE2 does not do that.
constexpr std::string_view kFolded[] = {"ss", "ff", "fi", "fl", "st"};
/// The two characters past ASCII that equal an ASCII letter when case is ignored.
constexpr char32_t kLongS = 0x17F, kKelvin = 0x212A;

/// Goes through a pattern and refuses what is not in the language of the header.
class Checker {
 public:
  Checker(std::string_view pattern, const std::string& where) : pattern_(pattern), where_(where) {}

  void run() {
    while (!done()) {
      const char c = pattern_[at_];
      if (uint8_t(c) >= 0x80) {
        refuse("a character past ASCII");
      } else if (c == '\\') {
        escape();
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        open_group();
      } else if (c == '{') {
        counted();
      } else if (c == '.' || c == '^' || c == '$' || c == '}' || c == ']') {
        refuse(fmt::format("'{}'", c));
      } else {
        ++at_;  // a literal, |, ), *, +, ?
      }
    }
  }

 private:
  bool done() const { return at_ >= pattern_.size(); }
  char peek(size_t ahead = 0) const { return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0'; }
  bool take(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  [[noreturn]] void refuse(const std::string& what) const {
    fail("{}: {} is not supported at character {} of the pattern '{}'", where_, what, at_ + 1, printable(pattern_));
  }

  /// A backslash; true if it stands for one character and may thus begin or end a range.
  bool escape() {
    const char c = peek(1);
    if (take("\\s") || take("\\S")) return false;
    if (c == 'p' || c == 'P') {
      const size_t negated = peek(3) == '^';
      if (peek(2) != '{' || peek(4 + negated) != '}' ||
          std::string_view("LMN").find(peek(3 + negated)) == std::string_view::npos)
        refuse("this \\p (supported are L, M and N)");
      at_ += 5 + negated;
      return false;
    }
    if (c != 'r' && c != 'n' && c != 't' && !(uint8_t(c) < 0x80 && std::ispunct(uint8_t(c))))
      refuse(fmt::format("'\\{}'", printable(std::string_view(&c, 1))));
    at_ += 2;
    return true;
  }

  void character_class() {
    ++at_;
    take("^");
    if (peek() == ']') refuse("']' at the start of a class");
    bool single = false;  // the last member is one character that no range has used
    while (peek() != ']') {
      if (peek() == '[') refuse("'[' in a class");
      if (take("&&")) refuse("'&&' in a class");
      if (peek() == '-') {
        if (!single || peek(1) == ']' || peek(1) == '[' || peek(1) == '-') refuse("'-' that makes no range");
        ++at_;
        if (!member()) refuse("a range that ends with a class");
        single = false;
      } else {
        single = member();
      }
    }
    ++at_;
  }
  bool member() {
    if (done()) refuse("a class without end");
    if (peek() == '\\') return escape();
    if (uint8_t(peek()) >= 0x80) refuse("a character past ASCII");
    ++at_;
    return true;
  }

  void open_group() {
    if (take("(?i:")) return case_ignored();
    for (const std::string_view known : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>"})
      if (take(known)) return;
    if (peek(1) == '?' || peek(1) == '*') refuse("this group");
    ++at_;
  }

  /// (?i:'s|'t): letters and other plain ASCII only.
  void case_ignored() {
    const size_t end = pattern_.find(')', at_);
    const std::string_view inside = pattern_.substr(at_, end == std::string_view::npos ? end : end - at_);
    for (const char c : inside)
      if (uint8_t(c) >= 0x80 || std::string_view("\\[](){}*+?.^$").find(c) != std::string_view::npos)
        refuse("anything but letters in (?i:...)");
    std::string small(inside);
    std::transform(small.begin(), small.end(), small.begin(), [](char c) { return char(std::tolower(uint8_t(c))); });
    for (const std::string_view pair : kFolded)
      if (small.find(pair) != std::string::npos) refuse(fmt::format("'{}' in (?i:...)", pair));
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
    at_ = end + 1;
    if (peek() == '+' || peek() == '?') refuse("a sign behind '}'");
  }

  std::string_view pattern_;
  const std::string& where_;
  size_t at_ = 0;
};

bool contains(std::span<const unicode::Range> table, char32_t c) {
  const auto it = std::upper_bound(table.begin(), table.end(), c,
                                   [](char32_t value, const unicode::Range& range) { return value < range.first; });
  return it != table.begin() && c <= std::prev(it)->last;
}

/// A character that every version of Unicode puts in the classes that `c` has in ours. ASCII stays as it is.
std::string_view stand_in(char32_t c) {
  if (contains(unicode::letters, c)) return "\u00AA";
  if (contains(unicode::numbers, c)) return "\u00B2";
  if (contains(unicode::marks, c)) return "\u0300";
  return is_white_space(c) ? "\u00A0" : "\u00A7";
}

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

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
  Checker(pattern, where_).run();
  int code = 0;
  PCRE2_SIZE place = 0;
  pcre2_code* compiled = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                       PCRE2_UTF | PCRE2_UCP, &code, &place, nullptr);
  require(compiled != nullptr, "{}: the pattern '{}' does not compile: {}", where_, printable(pattern),
          compiled == nullptr ? message_of(code) : "");
  code_ = std::shared_ptr<const pcre2_code>(compiled,
                                            [](const pcre2_code* p) { pcre2_code_free(const_cast<pcre2_code*>(p)); });
}

void SplitPattern::split(std::string_view text, std::vector<std::string_view>& parts) const {
  // What is matched: the text with stand-ins. A pattern tells characters past ASCII apart by nothing but their classes.
  std::string shadow;
  std::vector<size_t> starts;  // by byte of `shadow`: where its character starts in `text`
  shadow.reserve(text.size());
  starts.reserve(text.size() + 1);
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = first_code_point(text.substr(at));
    if (point.value < 0x80 || point.value == kLongS || point.value == kKelvin) {
      shadow += text.substr(at, point.bytes);
    } else {
      shadow += stand_in(point.value);
    }
    starts.resize(shadow.size(), at);
    at += point.bytes;
  }
  starts.push_back(text.size());

  const MatchData match(pcre2_match_data_create(1, nullptr));
  const MatchContext context(pcre2_match_context_create(nullptr));
  ensure(match && context, "no memory for matching");
  pcre2_set_heap_limit(context.get(), kHeapLimit);
  uint64_t left = kTextSteps;
  // PCRE2 counts the steps of one place only, and a text has many: it is asked for one place at a time, with a small
  // limit first, and what was not enough is taken off what the text may cost. The stand-ins are well-formed; checking
  // them at every match would make the whole quadratic.
  // What steps do not tell, the processor's clock does; asking it costs more than a cheap match, the time of day does
  // not.
  const size_t bytes = std::max<size_t>(1, shadow.size());
  const uint32_t first_limit = uint32_t(std::clamp<size_t>(kFirstBytes / bytes, kLeastFirstLimit, kFirstLimit));
  const double began = processor_seconds();
  double asked = began;
  auto when = std::chrono::steady_clock::now();
  const auto match_at = [&](size_t at) {
    if (const auto now = std::chrono::steady_clock::now(); now - when > std::chrono::milliseconds(10)) {
      when = now;
      asked = processor_seconds();
      if (asked - began > kTextSeconds) return PCRE2_ERROR_MATCHLIMIT;
    }
    for (uint32_t limit = first_limit, before = 0;;) {
      pcre2_set_match_limit(context.get(), limit);
      const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(shadow.data()), shadow.size(), at,
                                    PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED, match.get(), context.get());
      if (before > 0) left -= limit - before;
      if (found != PCRE2_ERROR_MATCHLIMIT || limit == kMatchLimit) return found;
      const double now = processor_seconds(), took = now - std::exchange(asked, now);
      before = limit;
      limit = std::min(limit * kLimitGrowth, kMatchLimit);
      if (limit - before > left || took * kTimeGrowth > kTextSeconds) return found;
    }
  };
  const auto next = [&](size_t at) { return at + first_code_point(std::string_view(shadow).substr(at)).bytes; };
  const auto match_from = [&](size_t at) {
    int found = match_at(at);
    for (; found == PCRE2_ERROR_NOMATCH && at < shadow.size(); found = match_at(at)) at = next(at);
    return found;
  };
  const auto add = [&](size_t start, size_t end) {
    if (start < end) parts.push_back(text.substr(starts[start], starts[end] - starts[start]));
  };
  size_t done = 0, from = 0, last_end = std::string::npos;
  while (!shadow.empty()) {
    const int found = match_from(from);
    if (found == PCRE2_ERROR_NOMATCH) break;
    require(found >= 0, "{}: the pattern cannot be matched on a text of {} bytes: {}", where_, text.size(),
            message_of(found));
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(match.get());
    const size_t start = ends[0], end = ends[1];
    if (start == end && start == last_end) {
      // An empty match right behind the last one does not count: on by one character, as the reference does.
      if (from >= shadow.size()) break;
      from = next(from);
      continue;
    }
    add(done, start);
    add(start, end);
    done = from = last_end = end;
  }
  add(done, shadow.size());
}

}  // namespace yopo
